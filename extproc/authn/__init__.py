"""Authentication: from a bearer token to a verified identity."""
