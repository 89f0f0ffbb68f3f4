"""``extproc doctor``: checks in the order in which a request meets them, from names to a signed call."""
