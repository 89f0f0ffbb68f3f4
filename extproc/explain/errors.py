"""Errors for input that cannot be explained."""


class BadInputError(ValueError):
    """Claims, a token or a request that cannot be used; the message says why and never quotes them."""
