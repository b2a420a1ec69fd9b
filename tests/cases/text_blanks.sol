0 0:   two before
1 0:  one before
2 0: none after
3 0: in   between
