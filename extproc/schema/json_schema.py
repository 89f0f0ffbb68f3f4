"""The configuration's JSON Schema (2020-12), for editors and for checks without extproc.

It says what a schema can say. ``extproc check`` also compares settings with each other, compiles CEL and
looks at files.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from extproc.config import Settings
from extproc.schema.texts import SettingText, texts

_ONE_CONDITION = {"oneOf": [{"required": ["claim"]}, {"required": ["matcher"]}]}
_CONSTRAINTS: Mapping[str, dict[str, Any]] = {
    "RoleMapping": {
        **_ONE_CONDITION,
        "if": {"properties": {"effect": {"const": "deny"}}, "required": ["effect"]},
        "then": {
            "not": {"anyOf": [{"required": [key]} for key in ("role_arn", "chain", "session_duration")]}
        },
        "else": {"required": ["role_arn"]},
    },
    "CeilingSettings": _ONE_CONDITION,
}
"""Rules about several keys of a section."""


def schema() -> dict[str, Any]:
    """Return the schema, with description, default, unit and example of each setting."""
    document = Settings.model_json_schema()
    known = texts()
    sections = {"Settings": document, **document["$defs"]}
    for name, section in sections.items():
        section["description"] = section["description"].replace("`", "")
        for key, described in section["properties"].items():
            section["properties"][key] = _described(described, known[name][key])
        section.update(_CONSTRAINTS.get(name, {}))
    # YAML's true and false are accepted for two of its values.
    observed = document["properties"]["observe_upstream"]
    observed["anyOf"] = [{"enum": observed.pop("enum")}, {"type": "boolean"}]
    observed.pop("type", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of extproc",
        **{key: value for key, value in document.items() if key != "title"},
    }


def _described(described: dict[str, Any], text: SettingText) -> dict[str, Any]:
    if text.pattern is not None:
        for part in _strings(described):
            part.setdefault("pattern", text.pattern)
    if text.replaced is not None:
        described = {**text.replaced, "default": described.get("default")}
    rest = {key: value for key, value in described.items() if key not in ("title", "description")}
    unit = {"x-unit": text.unit} if text.unit else {}
    return {"description": text.plain, **rest, **unit, "examples": [text.example]}


def _strings(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a property that describe strings."""
    if described.get("type") == "string" and "enum" not in described:
        yield described
    inner = [*described.get("anyOf", ())]
    if "items" in described:
        inner.append(described["items"])
    for part in inner:
        yield from _strings(part)
