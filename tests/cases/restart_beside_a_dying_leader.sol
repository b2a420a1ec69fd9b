0 0: start
1 0: one returns as one goes
2 1: end
0 0: start
1 0: one returns as one goes
2 1: end
