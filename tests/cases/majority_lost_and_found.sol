0 0: three
0 0: three
1 0: one waits
2 0: three again
