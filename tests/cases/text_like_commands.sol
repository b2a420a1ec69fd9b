0 0: allClear
1 0: sendMessage 1 hello
2 0: crashServer 0
3 0: printChatLog 0
4 0: start 3 3
5 0: # a comment?
6 0: "quoted" 'too' $HOME `x` \n %s %d
