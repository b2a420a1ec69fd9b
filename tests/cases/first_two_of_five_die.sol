0 0: both gone
1 0: the rest talks
