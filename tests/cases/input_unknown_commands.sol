0 0: known
