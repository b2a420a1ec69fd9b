0 0: ping
1 1: pong
2 0: ping again
0 0: ping
1 1: pong
2 0: ping again
