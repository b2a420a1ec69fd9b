0 0: written in ink
1 1: and dried
2 0: read again
0 0: written in ink
1 1: and dried
2 0: read again
