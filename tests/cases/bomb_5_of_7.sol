0 0: before the fuse
1 0: fuse 5, message 0
2 0: fuse 5, message 1
3 0: fuse 5, message 2
4 0: fuse 5, message 3
5 0: fuse 5, message 4
6 0: fuse 5, message 5
7 0: fuse 5, message 6
8 0: fuse 5, message 7
0 0: before the fuse
1 0: fuse 5, message 0
2 0: fuse 5, message 1
3 0: fuse 5, message 2
4 0: fuse 5, message 3
5 0: fuse 5, message 4
6 0: fuse 5, message 5
7 0: fuse 5, message 6
8 0: fuse 5, message 7
9 1: after the bang
0 0: before the fuse
1 0: fuse 5, message 0
2 0: fuse 5, message 1
3 0: fuse 5, message 2
4 0: fuse 5, message 3
5 0: fuse 5, message 4
6 0: fuse 5, message 5
7 0: fuse 5, message 6
8 0: fuse 5, message 7
9 1: after the bang
