0 0: without 0
1 0: without 1
2 0: without 2
