0 0: seven sit down
1 0: four are left
2 0: four go on
0 0: seven sit down
1 0: four are left
2 0: four go on
