0 0: decided by two
0 0: decided by two
1 0: decided by the two again
