0 0: one
0 0: one
1 0: two
0 0: one
1 0: two
0 0: one
1 0: two
2 0: three
