"""Strings that share memory with equal ones, wherever Python frees them again."""

import sys
from collections.abc import Callable

_IMMORTAL = 1 << 20
"""Python reports at least so many references to an object that it never frees."""


def chosen(references: Callable[[object], int] = sys.getrefcount) -> Callable[[str], str]:
    """Return ``sys.intern``, or what does nothing where an interned string is never freed.

    That is so in CPython 3.12.0 to 3.12.6 and in builds without the GIL
    (https://github.com/python/cpython/issues/113993). There clients could fill the memory with names of
    headers that they make up.
    """
    probe = sys.intern(f"a string of {__name__}")  # not a constant: those may be immortal
    return sys.intern if references(probe) < _IMMORTAL else str


intern = chosen()
"""Return an equal string; equal ones share memory where that costs nothing."""
