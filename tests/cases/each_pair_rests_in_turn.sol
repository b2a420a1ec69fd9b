0 0: five
1 0: without 0 and 1
2 1: without 2 and 3
3 0: without 4 and 0
4 1: without 1 and 2
5 0: without 3 and 4
0 0: five
1 0: without 0 and 1
2 1: without 2 and 3
3 0: without 4 and 0
4 1: without 1 and 2
5 0: without 3 and 4
