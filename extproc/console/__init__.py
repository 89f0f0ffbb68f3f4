"""The web console: a process of its own, and a client of the admin API.

It holds no token, no secret key and no session token of the server's users: the admin API has none to give.
"""
