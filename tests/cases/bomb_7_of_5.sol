0 0: before the fuse
1 0: fuse 7, message 0
2 0: fuse 7, message 1
3 0: fuse 7, message 2
4 0: fuse 7, message 3
5 0: fuse 7, message 4
6 0: fuse 7, message 5
7 0: fuse 7, message 6
8 0: fuse 7, message 7
9 0: fuse 7, message 8
10 0: fuse 7, message 9
11 0: fuse 7, message 10
12 0: fuse 7, message 11
0 0: before the fuse
1 0: fuse 7, message 0
2 0: fuse 7, message 1
3 0: fuse 7, message 2
4 0: fuse 7, message 3
5 0: fuse 7, message 4
6 0: fuse 7, message 5
7 0: fuse 7, message 6
8 0: fuse 7, message 7
9 0: fuse 7, message 8
10 0: fuse 7, message 9
11 0: fuse 7, message 10
12 0: fuse 7, message 11
13 1: after the bang
0 0: before the fuse
1 0: fuse 7, message 0
2 0: fuse 7, message 1
3 0: fuse 7, message 2
4 0: fuse 7, message 3
5 0: fuse 7, message 4
6 0: fuse 7, message 5
7 0: fuse 7, message 6
8 0: fuse 7, message 7
9 0: fuse 7, message 8
10 0: fuse 7, message 9
11 0: fuse 7, message 10
12 0: fuse 7, message 11
13 1: after the bang
