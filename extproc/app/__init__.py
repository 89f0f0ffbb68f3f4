"""The composition root: the one place where everything is put together."""
