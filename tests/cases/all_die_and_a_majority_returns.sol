0 0: kept by all
1 0: kept by two
