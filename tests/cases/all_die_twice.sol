0 0: first life
1 0: second life
2 0: third life
