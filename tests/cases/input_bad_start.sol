0 0: here
