2 1: third
2 1: third
