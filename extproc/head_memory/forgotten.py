"""The mark in place of a remembered header's value that is not kept."""

from typing import NoReturn, cast


class _Forgotten:
    """Stands for a header's value that is not kept. Reading it raises, so no stale value can be used."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<forgotten>"

    def _refuse(self, *_: object) -> NoReturn:
        raise LookupError("a header's value was read that is not remembered")

    __getattr__ = __str__ = __format__ = __bool__ = __len__ = __iter__ = __contains__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = _refuse
    __getitem__ = __add__ = __radd__ = __mul__ = __mod__ = _refuse


FORGOTTEN = cast("str", _Forgotten())
