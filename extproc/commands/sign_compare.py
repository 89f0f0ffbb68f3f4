"""Compares a signature with the strings that AWS prints in a ``SignatureDoesNotMatch`` error."""

import json
import re
from dataclasses import dataclass
from typing import Any

from extproc.signing.sigv4 import Signature

# Both end in a hash or its placeholder, so that a quote inside a header value does not end the match.
_END = r"(?:[0-9a-f]{64}|UNSIGNED-PAYLOAD|STREAMING-[A-Z0-9-]+)"
_CANONICAL = [
    re.compile(rf"Canonical String for this request should have been\s*['\"](.*?\n{_END})['\"]", re.DOTALL),
    re.compile(rf"<CanonicalRequest>(.*?\n{_END})</CanonicalRequest>", re.DOTALL),
]
_TO_SIGN = [
    re.compile(r"String-to-Sign should have been\s*['\"](AWS4-.*?\n[0-9a-f]{64})['\"]", re.DOTALL),
    re.compile(r"<StringToSign>(AWS4-.*?\n[0-9a-f]{64})</StringToSign>", re.DOTALL),
]
_ENTITIES = {
    "amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'",
    "#xA": "\n", "#xa": "\n", "#xD": "\r", "#xd": "\r", "#x27": "'", "#x22": '"',
}  # fmt: skip
_ENTITY = re.compile(r"&(amp|lt|gt|quot|apos|#x(?:[AaDd]|27|22)|#(\d{1,3}));", re.ASCII)


@dataclass(frozen=True, slots=True)
class Difference:
    """The first line that differs. ``ours`` or ``aws`` is None if that side has no such line."""

    checkpoint: str
    line: int  # from 1
    meaning: str
    ours: str | None
    aws: str | None


class NothingToCompareError(ValueError):
    """The error contains neither a canonical string nor a string to sign."""


def first_difference(signature: Signature, error_body: str) -> Difference | None:
    """Return the first difference between our checkpoints and those in an error body, None if equal.

    Raises:
        NothingToCompareError: the error body has none.
    """
    text = _readable(error_body)
    canonical, to_sign = _first(_CANONICAL, text), _first(_TO_SIGN, text)
    if canonical is None and to_sign is None:
        raise NothingToCompareError
    for checkpoint, ours, aws in (
        ("canonical_request", signature.canonical_request, canonical),
        ("string_to_sign", signature.string_to_sign, to_sign),
    ):
        if aws is not None and aws != ours:
            return _difference(checkpoint, ours.split("\n"), aws.split("\n"))
    return None


def _readable(text: str) -> str:
    """Undo the JSON and XML escapes of an error."""
    try:
        text = "\n".join(_strings(json.loads(text)))
    except (ValueError, RecursionError):
        if "\\n" in text and not any(
            pattern.search(_without_entities(text)) for pattern in _CANONICAL + _TO_SIGN
        ):
            # A fragment of JSON, copied from a log.
            text = text.replace("\\r", "").replace("\\n", "\n").replace('\\"', '"').replace("\\/", "/")
            text = text.replace("\\u0026", "&").replace("\\u003d", "=").replace("\\u0027", "'")
    return _without_entities(text).replace("\r\n", "\n")


def _without_entities(text: str) -> str:
    """Replace XML's entities only: HTML's need no semicolon, so ``&copy=1`` in a query would be one."""
    return _ENTITY.sub(lambda match: _ENTITIES.get(match[1]) or chr(int(match[2])), text)


def _strings(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [text for child in children for text in _strings(child)]


def _first(patterns: list[re.Pattern[str]], text: str) -> str | None:
    for pattern in patterns:
        match = pattern.search(text)
        if match:
            return match[1]
    return None


def _difference(checkpoint: str, ours: list[str], aws: list[str]) -> Difference:
    position = next(
        (index for index, pair in enumerate(zip(ours, aws, strict=False)) if pair[0] != pair[1]),
        min(len(ours), len(aws)),
    )
    return Difference(
        checkpoint=checkpoint,
        line=position + 1,
        meaning=line_meanings(checkpoint, aws if len(aws) > position else ours)[position],
        ours=ours[position] if position < len(ours) else None,
        aws=aws[position] if position < len(aws) else None,
    )


def line_meanings(checkpoint: str, lines: list[str]) -> list[str]:
    """Return what each line of a checkpoint is."""
    if checkpoint == "string_to_sign":
        names = ["algorithm", "time", "credential scope", "hash of the canonical request"]
        return (names + ["?"] * len(lines))[: len(lines)]
    head = ["method", "path", "query"]
    tail = ["end of headers", "signed headers", "payload hash"]
    headers = ["header"] * max(0, len(lines) - len(head) - len(tail))
    return (head + headers + tail)[: len(lines)]
