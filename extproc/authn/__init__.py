"""Who is asking: from a bearer token to a verified identity."""
