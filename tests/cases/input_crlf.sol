0 0: from far
1 1: with two line ends
0 0: from far
1 1: with two line ends
