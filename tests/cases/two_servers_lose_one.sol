0 0: two of two
0 0: two of two
1 0: two again
