"""The schema of claims: misspelt claims and wrong types in rules are found before a request is denied.

A type is ``string``, ``int``, ``double``, ``bool``, ``any``, ``list(TYPE)``, ``map(TYPE)`` or a
mapping of members. A ``?`` after it means that the claim may be absent. Only ``any`` includes null.
A token may have claims that are not in the schema, but rules must not read them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_INT = 2**63 - 1

_SIMPLE: Mapping[str, type] = {"string": str, "int": int, "bool": bool}
_TYPES = "string, int, double, bool, any, list(TYPE), map(TYPE)"
_NESTED = re.compile(r"(?P<kind>list|map)\((?P<of>.+)\)")


@dataclass(frozen=True, slots=True)
class ClaimType:
    """The type of a claim.

    Attributes:
        kind: ``string``, ``int``, ``double``, ``bool``, ``any``, ``list``, ``map`` or ``object``.
        optional: whether the claim may be absent.
        of: the type of a list's elements or a map's values.
        members: of an ``object``, by name.
    """

    kind: str
    optional: bool = False
    of: "ClaimType | None" = None
    members: Mapping[str, "ClaimType"] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind}({self.of})" if self.of else self.kind


Schema = Mapping[str, ClaimType]
ANY = ClaimType("any")

REGISTERED: Schema = {
    # Validated by the token verifier (RFC 7519 4.1).
    "iss": ClaimType("string"),
    "sub": ClaimType("string"),
    "exp": ClaimType("int"),
    "aud": ANY,  # a string or a list of strings
    "nbf": ClaimType("int", optional=True),
    "iat": ClaimType("int", optional=True),
    # Not validated: providers differ.
    **dict.fromkeys(("jti", "act", "may_act", "azp", "client_id", "scope"), ClaimType("any", optional=True)),
}
"""Claims that rules may read without a declaration."""


def parse_schema(declared: Mapping[str, Any]) -> Schema:
    """Return the schema that a configuration declares; raises ``ValueError``."""
    return _members(declared, "")


def _members(declared: Mapping[str, Any], place: str) -> Schema:
    members = {}
    for key, value in declared.items():
        name = str(key).removesuffix("?")
        where = f"{place}.{name}" if place else name
        if not name:
            raise ValueError("a claim without a name")
        if name in members:
            raise ValueError(f"{where}: is declared twice")
        if isinstance(value, Mapping):
            inner = _members(value, where)
            members[name] = ClaimType("object", optional=name != key, members=inner)
        elif isinstance(value, str) and name == key:
            members[name] = _type(value.replace(" ", ""), where)
        elif isinstance(value, str):
            raise ValueError(f'{where}: write "?" after the type, and after the name of mappings only')
        else:
            raise ValueError(f"{where}: must be a type ({_TYPES}) or a mapping of members")
    return members


def _type(text: str, where: str) -> ClaimType:
    name = text.removesuffix("?")
    optional = name != text
    if name in (*_SIMPLE, "double", "any"):
        return ClaimType(name, optional=optional)
    nested = _NESTED.fullmatch(name)
    if nested is None:
        raise ValueError(f"{where}: {text!r} is not a type ({_TYPES}, each with ? if it may be absent)")
    inner = _type(nested["of"], where)
    if inner.optional:
        raise ValueError(f"{where}: elements are never absent; use any for those that may be null")
    return ClaimType(nested["kind"], optional=optional, of=inner)


def mismatch(schema: Schema, claims: Mapping[str, Any]) -> str | None:
    """Return the first difference between claims and their schema, without values; None if there is none."""
    return _members_mismatch(schema, claims, "")


def _members_mismatch(schema: Schema, values: Mapping[str, Any], place: str) -> str | None:
    for name, wanted in schema.items():
        where = f"{place}.{name}" if place else name
        if name in values:
            problem = _mismatch(wanted, values[name], where)
            if problem is not None:
                return problem
        elif not wanted.optional:
            return f"claim {where}: {wanted} expected, and it is missing"
    return None


def _mismatch(wanted: ClaimType, value: Any, where: str) -> str | None:
    if wanted.kind == "object" and isinstance(value, Mapping):
        return _members_mismatch(wanted.members, value, where)
    if wanted.of is not None and wanted.kind == "list" and isinstance(value, list):
        return _first(_mismatch(wanted.of, entry, f"{where}[{place}]") for place, entry in enumerate(value))
    if wanted.of is not None and wanted.kind == "map" and isinstance(value, Mapping):
        return _first(_mismatch(wanted.of, entry, f"{where}[...]") for entry in value.values())
    if wanted.of is None and _is_simple(wanted.kind, value):
        return None
    return f"claim {where}: {wanted} expected, {_kind_of(value)} found"


def _first(problems: Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem is not None), None)


def _is_simple(kind: str, value: Any) -> bool:
    if kind == "int":
        return type(value) is int and abs(value) <= MAX_INT
    if kind == "double":
        return type(value) in (int, float)  # JSON does not distinguish them
    return kind == "any" or type(value) is _SIMPLE.get(kind)


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "bool", int: "int", float: "double", str: "string", list: "list"}
    return kinds.get(type(value), "map")
