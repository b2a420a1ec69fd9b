0 0: quiet
1 0: in between
2 1: after the storm
0 0: quiet
1 0: in between
2 1: after the storm
