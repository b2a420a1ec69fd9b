0 0: 0 0: not an entry
1 0: 7 1: nor this
2 0: 12 3:
3 0: : :
4 0: 0 0: 0 0: 0 0: deeper
0 0: 0 0: not an entry
1 0: 7 1: nor this
2 0: 12 3:
3 0: : :
4 0: 0 0: 0 0: 0 0: deeper
