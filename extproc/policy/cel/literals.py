"""The values of literals, as the CEL specification has them (langdef, "String and Bytes Values").

The parser accepts more than CEL does: it finds the end of a literal, but does not validate it.
"""

import math
import re
from typing import Any

from extproc.policy.cel.errors import ExpressionError
from extproc.policy.cel.values import MAX_INT, MAX_UINT, MIN_INT, Uint

_INT = re.compile(r"-?(?:0x[0-9a-fA-F]+|[0-9]+)", re.ASCII)
_UINT = re.compile(r"(0x[0-9a-fA-F]+|[0-9]+)[uU]", re.ASCII)
_DOUBLE = re.compile(r"-?(?:[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)", re.ASCII)
_STRING = re.compile(
    r"""(?P<bytes>[bB]?)(?P<raw>[rR]?)(?P<quote>\"{3}|'{3}|"|')(?P<body>.*)(?P=quote)""", re.DOTALL
)
_ESCAPE = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\?\"'`])|[xX](?P<byte>[0-9a-fA-F]{2})|u(?P<short>[0-9a-fA-F]{4})"
    r"|U(?P<long>[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2})|(?P<unknown>.?))",
    re.DOTALL,
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SURROGATES = range(0xD800, 0xE000)
_MAX_CODE_POINT = 0x10FFFF


def literal(kind: str, text: str) -> Any:
    """Return the value of a literal of the kind that the parser found.

    Raises:
        ExpressionError: CEL has no such literal.
    """
    if kind == "BOOL_LIT":
        return text == "true"
    if kind == "NULL_LIT":
        return None
    if kind in _NUMBERS:
        return _NUMBERS[kind](text)
    return _string(text)


def _int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ExpressionError("not an int")
    # Base 0 takes "0x" and refuses leading zeros, which CEL reads as decimal.
    value = int(text, 16 if "x" in text else 10) if len(text) <= _LONGEST_INT else MAX_UINT
    if not MIN_INT <= value <= MAX_INT:
        raise ExpressionError("an int beyond 64 bits")
    return value


def _uint(text: str) -> Uint:
    match = _UINT.fullmatch(text)
    if match is None:
        raise ExpressionError("not a uint")
    value = int(match[1], 16 if "x" in text else 10) if len(text) <= _LONGEST_INT else MAX_UINT + 1
    if value > MAX_UINT:
        raise ExpressionError("a uint beyond 64 bits")
    return Uint(value)


_LONGEST_INT = 100  # characters, leading zeros among them


def _double(text: str) -> float:
    if not _DOUBLE.fullmatch(text):
        raise ExpressionError("not a double; write 1.0 for 1.")
    value = float(text)
    if not math.isfinite(value):
        raise ExpressionError("a double out of range")
    return value


_NUMBERS = {"INT_LIT": _int, "UINT_LIT": _uint, "FLOAT_LIT": _double}


def _string(literal: str) -> str | bytes:
    match = _STRING.fullmatch(literal)
    if match is None:
        raise ExpressionError("not a string")
    body, quote = match["body"], match["quote"]
    if len(quote) == 1 and ("\r" in body or "\n" in body):
        raise ExpressionError("a string over several lines; use three quotes")
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    if match["raw"]:
        # In CEL the first quote ends a raw string, whatever precedes it. The parser takes a quote
        # after a backslash as part of the string.
        if (body + quote).index(quote) < len(body):
            raise ExpressionError("a raw string cannot hold its own quotes")
        return body.encode() if match["bytes"] else body
    if match["bytes"]:
        return b"".join(_octets(body))
    return _ESCAPE.sub(_code_point, body)


def _octets(body: str) -> list[bytes]:
    r"""Return the parts of a bytes literal: ``\x`` and octal escapes are octets, ``\u`` is an error."""
    parts, end = [], 0
    for match in _ESCAPE.finditer(body):
        parts.append(body[end : match.start()].encode())
        end = match.end()
        digits = match["byte"] or match["octal"]
        if digits:
            parts.append(bytes([int(digits, 16 if match["byte"] else 8)]))
        elif match["short"] or match["long"]:
            raise ExpressionError(f"unknown escape {match[0]} in bytes")
        else:
            parts.append(_code_point(match).encode())
    return [*parts, body[end:].encode()]


def _code_point(match: re.Match[str]) -> str:
    plain = match["plain"]
    if plain is not None:
        return _PLAIN.get(plain, plain)
    digits = match["byte"] or match["short"] or match["long"]
    if digits is None and match["octal"] is None:
        raise ExpressionError(f"unknown escape {match[0]}; write a backslash twice, or use r'...'")
    value = int(digits, 16) if digits else int(match["octal"], 8)
    if value > _MAX_CODE_POINT or value in _SURROGATES:
        raise ExpressionError(f"escape {match[0]} is not a character")
    return chr(value)
