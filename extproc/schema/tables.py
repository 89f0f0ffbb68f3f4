"""The tables of settings in docs/configuration.md."""

import json
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from extproc.config import Settings
from extproc.schema.texts import SettingText, texts

_HEAD = "| key | default | example | meaning |\n|---|---|---|---|"
_CAPITAL = re.compile(r"^\[?[A-Z](?=[a-z ])")
_SPELLED: dict[str, str] = {"request_body_bytes": "10 MiB", "mcp_body_bytes": "256 KiB"}


def table(model: type[BaseModel] = Settings, *, without: frozenset[str] = frozenset()) -> str:
    """Return a Markdown table of a section's settings, and of the sections in it but those of ``without``."""
    return "\n".join([_HEAD, *(_row(*entry) for entry in _settings(model, "", without, texts()))])


def _settings(
    model: type[BaseModel], path: str, without: frozenset[str], known: Mapping[str, Mapping[str, SettingText]]
) -> Iterator[tuple[str, FieldInfo, SettingText]]:
    for attribute, field in model.model_fields.items():
        name = field.alias or attribute
        inner = list(_sections(field.annotation, ""))
        # A section that is given once for all has no row of its own; an optional or shared one has.
        if not inner or path.endswith("].") or name in without:
            yield f"{path}{name}", field, known[model.__name__][name]
        if name in without or (inner and inner[0][0].__name__ == "Refresh" and path):
            continue
        for section, brackets in inner:
            yield from _settings(section, f"{path}{name}{brackets}.", without, known)


def _sections(annotation: Any, brackets: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the sections in a type, with brackets for each list around them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, brackets
        return
    listed = "[]" if typing.get_origin(annotation) is list else ""
    for argument in typing.get_args(annotation):
        yield from _sections(argument, brackets + listed)


def _row(path: str, field: FieldInfo, text: SettingText) -> str:
    default = _default(path.rpartition(".")[2], field, text)
    unit = f" {text.unit}" if text.unit and not text.default and "iB" not in default else ""
    meaning = (
        _CAPITAL.sub(lambda found: found[0].lower(), text.text) if text.text.endswith(".") else text.text
    )
    return (
        "| "
        + " | ".join(
            _cell(part)
            for part in (f"`{path}`", f"{default}{unit}", f"`{_yaml(text.example)}`", meaning.rstrip("."))
        )
        + " |"
    )


def _default(name: str, field: FieldInfo, text: SettingText) -> str:
    if text.default is not None:
        return text.default
    if field.is_required():
        return "required"
    return _SPELLED.get(name) or f"`{_yaml(field.default)}`"


def _yaml(value: Any) -> str:
    """Return a value as YAML in one line."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
