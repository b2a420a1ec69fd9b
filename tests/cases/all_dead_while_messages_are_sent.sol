0 0: before
1 1: while nobody listens
2 1: and again
0 0: before
1 1: while nobody listens
2 1: and again
