"""The embedded stack: everything around the server, real enough to prove it."""
