0 0: is anybody there?
