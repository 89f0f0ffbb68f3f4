"""The composition root: the only package that builds the objects and connects them."""
