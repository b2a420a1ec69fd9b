0 0: before the fuse
1 0: fuse 1, message 0
0 0: before the fuse
1 0: fuse 1, message 0
2 1: after the bang
0 0: before the fuse
1 0: fuse 1, message 0
2 1: after the bang
