"""Pydantic's errors as lines for people."""

import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from extproc.spelling import did_you_mean


def problems(error: ValidationError, model: type[BaseModel] | None = None) -> list[str]:
    """Return one ``path: message`` line an error, with list positions in brackets.

    With the model that was validated, an unknown key has a hint at the one that was probably meant.
    """
    lines = []
    for entry in error.errors():
        path = ""
        for part in entry["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        message = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            *place, key = entry["loc"]
            message = f"unknown key{did_you_mean(str(key), _keys(model, place)) if model else ''}"
        # A rule about a whole section names its own path.
        lines.append(f"{path}: {message}" if path else message)
    return lines


def section_at(model: type[BaseModel], place: Sequence[int | str]) -> type[BaseModel] | None:
    """Return the model of the section at a place; None if there is none."""
    for part in place:
        if isinstance(part, int):
            continue
        field = next(
            (field for name, field in model.model_fields.items() if part in (name, field.alias)), None
        )
        inner = next(_models(field.annotation), None) if field is not None else None
        if inner is None:
            return None
        model = inner
    return model


def _keys(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """Return the keys of the section at a place."""
    section = section_at(model, place)
    return [field.alias or name for name, field in section.model_fields.items()] if section else []


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in typing.get_args(annotation):
        yield from _models(argument)
