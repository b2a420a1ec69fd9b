0 0: armed
1 0: armed anew 0
2 0: armed anew 1
3 0: armed anew 2
4 0: armed anew 3
5 0: armed anew 4
6 0: armed anew 5
7 0: armed anew 6
8 0: armed anew 7
9 0: armed anew 8
10 0: armed anew 9
