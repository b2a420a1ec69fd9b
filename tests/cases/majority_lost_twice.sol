0 1: up
1 1: down once
0 1: up
1 1: down once
2 1: down twice
0 1: up
1 1: down once
2 1: down twice
