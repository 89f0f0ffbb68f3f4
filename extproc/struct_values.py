"""Protobuf's ``Struct`` as plain Python values."""

from collections.abc import Callable
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value


def plain(struct: Struct, *, number: Callable[[float], int | float] = float) -> dict[str, Any]:
    """Return a struct as a dictionary; ``number`` converts its numbers, all of which are doubles."""
    return {name: _plain(value, number) for name, value in struct.fields.items()}


def _plain(value: Value, number: Callable[[float], int | float]) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return plain(value.struct_value, number=number)
    if kind == "list_value":
        return [_plain(element, number) for element in value.list_value.values]
    if kind == "number_value":
        return number(value.number_value)
    return None if kind in (None, "null_value") else getattr(value, kind)
