0 0: still here
