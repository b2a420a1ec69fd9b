0 0: four
1 0: three
0 0: four
1 0: three
0 0: four
1 0: three
2 0: two wait
0 0: four
1 0: three
2 0: two wait
