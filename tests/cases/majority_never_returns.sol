0 0: the last that is heard
0 0: the last that is heard
