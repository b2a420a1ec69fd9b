0 0: before the fuse
1 0: fuse 2, message 0
2 0: fuse 2, message 1
3 0: fuse 2, message 2
0 0: before the fuse
1 0: fuse 2, message 0
2 0: fuse 2, message 1
3 0: fuse 2, message 2
4 1: after the bang
0 0: before the fuse
1 0: fuse 2, message 0
2 0: fuse 2, message 1
3 0: fuse 2, message 2
4 1: after the bang
