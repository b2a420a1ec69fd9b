0 0: alone
0 0: alone
1 0: alone again
