0 0: before the fuse
1 0: fuse 6, message 0
2 0: fuse 6, message 1
3 0: fuse 6, message 2
4 0: fuse 6, message 3
5 0: fuse 6, message 4
6 0: fuse 6, message 5
7 0: fuse 6, message 6
8 0: fuse 6, message 7
9 0: fuse 6, message 8
10 0: fuse 6, message 9
0 0: before the fuse
1 0: fuse 6, message 0
2 0: fuse 6, message 1
3 0: fuse 6, message 2
4 0: fuse 6, message 3
5 0: fuse 6, message 4
6 0: fuse 6, message 5
7 0: fuse 6, message 6
8 0: fuse 6, message 7
9 0: fuse 6, message 8
10 0: fuse 6, message 9
11 1: after the bang
0 0: before the fuse
1 0: fuse 6, message 0
2 0: fuse 6, message 1
3 0: fuse 6, message 2
4 0: fuse 6, message 3
5 0: fuse 6, message 4
6 0: fuse 6, message 5
7 0: fuse 6, message 6
8 0: fuse 6, message 7
9 0: fuse 6, message 8
10 0: fuse 6, message 9
11 1: after the bang
