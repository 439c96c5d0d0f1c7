"""Pure readers: the bytes of one tool's answer in, a declared frame out, or ParseError.

One module a tool. A parser knows nothing of clusters: it can be run on a file by hand.
"""
