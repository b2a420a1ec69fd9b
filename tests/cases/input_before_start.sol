0 0: in time
