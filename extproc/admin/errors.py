"""Errors whose messages the admin API shows to its callers; see ``admin.server``."""


class RefusedError(ValueError):
    """The request cannot be acted on: INVALID_ARGUMENT."""


class NoAnswerError(Exception):
    """A worker did not answer, or not in time: UNAVAILABLE."""
