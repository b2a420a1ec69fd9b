0 0: good
1 1: better
0 0: good
1 1: better
