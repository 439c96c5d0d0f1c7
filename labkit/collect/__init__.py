"""Reads: which command on which targets with which parser. A collector changes nothing.

Each takes a Cluster and gives a frame: the parser's columns, in front the `node` or `pod` that was
asked, behind them `reply`.
"""
