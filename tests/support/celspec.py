"""The CEL specification's own cases, where its files are beside the project.

``CEL_SPEC`` names the folder with ``tests/simple/testdata/*.textproto`` of
https://github.com/google/cel-spec (also in the Go module cel.dev/expr). Only what those files
use of protobuf's text format is read. Values are kept as ``(type, value)``, so that true, 1, 1u
and 1.0 differ.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILES = (
    "basic", "comparisons", "conversions", "fields", "fp_math", "integer_math", "lists", "logic",
    "macros", "namespace", "parse", "plumbing", "string", "timestamps",
)  # fmt: skip
"""Those about the language itself; the others are about protobuf messages or optional extensions."""

_IN_A_PACKAGE = {
    "self_eval_container_lookup",
    "self_eval_container_lookup_unchecked",
    "basic",
    "comprehension_shadowing_namespaced_selector_disambiguation",
}
"""Those that come out in a package only; rules have none."""

_MESSAGES = re.compile(
    r"TestAllTypes|google\.protobuf|proto[23]|NestedEnum|GlobalEnum|\w\s*\{\s*(?:\w+\s*:|\})"
)
_TIMES = re.compile(r"\b(?:timestamp|duration)\b|google\.protobuf\.(?:Timestamp|Duration)")
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<name>[A-Za-z_][\w.]*)|(?P<type>\[[^\]]*\])|(?P<number>-?(?:0x[0-9a-fA-F]+|[0-9.]+(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)\b)|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<mark>[{}:;,<>\[\]-])""",
    re.DOTALL,
)
_ESCAPE = re.compile(
    rb"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}

Message = dict[str, list[Any]]


@dataclass(frozen=True)
class Case:
    """One case. ``expected``: a typed value; None for an error."""

    name: str
    expression: str
    variables: dict[str, Any]
    expected: Any
    is_time: bool
    is_checked: bool
    tree: Message = field(repr=False, compare=False)


def folder() -> Path | None:
    """Where the files are, if they are anywhere."""
    given = os.environ.get("CEL_SPEC")
    return Path(given) if given else None


def cases(root: Path) -> list[Case]:
    """All cases that need no protobuf messages."""
    found = []
    for name in FILES:
        text = (root / f"{name}.textproto").read_text(encoding="utf-8")
        for section in _message(_tokens(text))["section"]:
            for test in section.get("test", []):
                case = _case(f"{name}/{section['name'][0].decode()}", test)
                if case is not None:
                    found.append(case)
    return found


def _case(prefix: str, test: Message) -> Case | None:
    expression = test["expr"][0].decode()
    rest = repr({key: value for key, value in test.items() if key not in ("description", "name")})
    is_time = bool(_TIMES.search(expression))
    if "object_value" in rest and not is_time:
        return None
    if (_MESSAGES.search(expression) and not is_time) or "enum_value" in rest or "unknown" in test:
        return None
    if "container" in test and test["name"][0].decode() in _IN_A_PACKAGE:
        return None
    if "check_only" in test or "disable_macros" in test:
        return None
    if any("message_type" in repr(declared) for declared in test.get("type_env", [])):
        return None
    if is_time and ("TestAllTypes" in expression or "object_value" in repr(test.get("bindings", ""))):
        return None
    variables = {
        entry["key"][0].decode(): value_of(entry["value"][0]["value"][0])
        for entry in test.get("bindings", [])
    }
    name = f"{prefix}/{test['name'][0].decode()}"
    if "eval_error" in test or "any_eval_errors" in test:
        expected = None
    elif "typed_result" in test:
        expected = value_of(test["typed_result"][0]["result"][0])
    elif "value" in test:
        expected = value_of(test["value"][0])
    else:
        expected = ("bool", True)
    return Case(name, expression, variables, expected, is_time, "disable_check" not in test, test)


def value_of(message: Message) -> Any:
    """A ``cel.expr.Value`` as type and value."""
    (kind, (value, *_)), *_ = message.items()
    match kind:
        case "null_value":
            return ("null_type", None)
        case "bool_value":
            return ("bool", value == "true")
        case "int64_value":
            return ("int", int(str(value), 0))
        case "uint64_value":
            return ("uint", int(str(value), 0))
        case "double_value":
            return ("double", float(value))
        case "string_value":
            return ("string", value.decode())
        case "bytes_value":
            return ("bytes", value)
        case "type_value":
            return ("type", value.decode())
        case "list_value":
            return ("list", [value_of(entry) for entry in value.get("values", [])])
        case "map_value":
            return (
                "map",
                [
                    (value_of(entry["key"][0]), value_of(entry["value"][0]))
                    for entry in value.get("entries", [])
                ],
            )
        case _:
            return (kind, value)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        assert match, text[place : place + 40]
        place = match.end()
        if match.lastgroup:
            tokens.append((match.lastgroup, match[0]))
    return tokens[::-1]  # taken from the end


def _message(tokens: list[tuple[str, str]]) -> Message:
    made: Message = {}
    while tokens and tokens[-1][1] not in ("}", ">"):
        _, name = tokens.pop()
        if tokens[-1][1] == ":":
            tokens.pop()
        values = made.setdefault(name, [])
        if tokens[-1][1] == "[" or tokens[-1] == ("type", "[]"):
            raise AssertionError("lists in brackets are not used")
        values.append(_value(tokens))
        while tokens and tokens[-1][1] in (",", ";"):
            tokens.pop()
    if tokens:
        tokens.pop()
    return made


def _value(tokens: list[tuple[str, str]]) -> Any:
    kind, text = tokens.pop()
    if text in ("{", "<"):
        return _message(tokens)
    if kind != "text":
        return text + tokens.pop()[1] if text == "-" else text
    parts = [_unescaped(text)]
    while tokens and tokens[-1][0] == "text":
        parts.append(_unescaped(tokens.pop()[1]))
    return b"".join(parts)


def _unescaped(literal: str) -> bytes:
    def octets(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes([int(match[1], 16)])
        if match[2]:
            return bytes([int(match[2], 8)])
        if match[3] or match[4]:
            return chr(int(match[3] or match[4], 16)).encode()
        return _PLAIN.get(match[5], match[5])

    return _ESCAPE.sub(octets, literal[1:-1].encode())
