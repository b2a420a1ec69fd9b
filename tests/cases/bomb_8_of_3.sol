0 0: before the fuse
1 0: fuse 8, message 0
2 0: fuse 8, message 1
3 0: fuse 8, message 2
4 0: fuse 8, message 3
5 0: fuse 8, message 4
6 0: fuse 8, message 5
7 0: fuse 8, message 6
8 0: fuse 8, message 7
9 0: fuse 8, message 8
10 0: fuse 8, message 9
11 0: fuse 8, message 10
12 0: fuse 8, message 11
13 0: fuse 8, message 12
14 0: fuse 8, message 13
15 0: fuse 8, message 14
16 0: fuse 8, message 15
0 0: before the fuse
1 0: fuse 8, message 0
2 0: fuse 8, message 1
3 0: fuse 8, message 2
4 0: fuse 8, message 3
5 0: fuse 8, message 4
6 0: fuse 8, message 5
7 0: fuse 8, message 6
8 0: fuse 8, message 7
9 0: fuse 8, message 8
10 0: fuse 8, message 9
11 0: fuse 8, message 10
12 0: fuse 8, message 11
13 0: fuse 8, message 12
14 0: fuse 8, message 13
15 0: fuse 8, message 14
16 0: fuse 8, message 15
17 1: after the bang
0 0: before the fuse
1 0: fuse 8, message 0
2 0: fuse 8, message 1
3 0: fuse 8, message 2
4 0: fuse 8, message 3
5 0: fuse 8, message 4
6 0: fuse 8, message 5
7 0: fuse 8, message 6
8 0: fuse 8, message 7
9 0: fuse 8, message 8
10 0: fuse 8, message 9
11 0: fuse 8, message 10
12 0: fuse 8, message 11
13 0: fuse 8, message 12
14 0: fuse 8, message 13
15 0: fuse 8, message 14
16 0: fuse 8, message 15
17 1: after the bang
