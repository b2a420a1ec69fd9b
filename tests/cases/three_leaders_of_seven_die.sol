0 0: reign 0
1 0: reign 1
2 0: reign 2
3 0: reign 3
