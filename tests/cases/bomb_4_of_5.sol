0 0: before the fuse
1 0: fuse 4, message 0
2 0: fuse 4, message 1
3 0: fuse 4, message 2
4 0: fuse 4, message 3
0 0: before the fuse
1 0: fuse 4, message 0
2 0: fuse 4, message 1
3 0: fuse 4, message 2
4 0: fuse 4, message 3
5 1: after the bang
0 0: before the fuse
1 0: fuse 4, message 0
2 0: fuse 4, message 1
3 0: fuse 4, message 2
4 0: fuse 4, message 3
5 1: after the bang
