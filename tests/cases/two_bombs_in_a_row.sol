0 0: zero
1 0: one
2 0: two
0 0: zero
1 0: one
2 0: two
