0 0: before the fuse
1 0: fuse 3, message 0
2 0: fuse 3, message 1
3 0: fuse 3, message 2
4 0: fuse 3, message 3
5 0: fuse 3, message 4
6 0: fuse 3, message 5
0 0: before the fuse
1 0: fuse 3, message 0
2 0: fuse 3, message 1
3 0: fuse 3, message 2
4 0: fuse 3, message 3
5 0: fuse 3, message 4
6 0: fuse 3, message 5
7 1: after the bang
0 0: before the fuse
1 0: fuse 3, message 0
2 0: fuse 3, message 1
3 0: fuse 3, message 2
4 0: fuse 3, message 3
5 0: fuse 3, message 4
6 0: fuse 3, message 5
7 1: after the bang
