"""What processes of engines that have no server have in common: a lifeline, HTTP at a Unix socket, and text that grows token by token.

It runs without synfire, maybe in another environment: it imports nothing of it, and only Python's own library.
"""
