"""Copies of a request's tokens, in its headers and its URL.

Proxies and login pages in front of Envoy copy the token into headers of their own, and clients put it
into URLs. An upstream that gets a copy can act as the user wherever the token counts.

Found are the signature or a large part of it, the payload, and a token of another form as a whole: plain,
percent-encoded up to three times, and in base64 or base64url. Not found: what was compressed, encrypted or
written in another alphabet, which only its sender could have done, and copies in bodies.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

SHORTEST = 64
"""Characters of the shortest value that may hold a copy: the shortest signature that is accepted has 86
(ES256: 64 bytes in base64url, RFC 7518 3.4). What ``server.heads`` does not look at again is shorter too."""

_PIECE = 32  # characters: any 63 of a signature in a row hold one whole piece
_LEVELS = 3  # of percent-encoding
_ANOTHER_ALPHABET = str.maketrans("-_", "+/")
_ACCESS_TOKEN = re.compile(r"\s*access_token\s*(?:\[.*)?", re.ASCII | re.IGNORECASE | re.DOTALL)
_SEPARATORS = re.compile(r"[?&;#]")


class TokenCopies:
    """Finds copies of some tokens. What it looks for is worked out with the first value long enough."""

    __slots__ = ("_encoded", "_plain", "_unverified_tokens")

    def __init__(self, unverified_tokens: Iterable[str]) -> None:
        self._unverified_tokens = tuple(unverified_tokens)
        self._plain: list[str] = []
        self._encoded: list[str] = []

    def __repr__(self) -> str:
        return "TokenCopies()"

    def any_in(self, values: Iterable[str]) -> bool:
        """Return whether one of the values holds a copy."""
        return any(self.is_in(value) for value in values)

    def is_in(self, value: str) -> bool:
        """Return whether a value holds a copy."""
        if len(value) < SHORTEST:
            return False
        if not self._plain:
            self._prepare()
        return any(self._in_text(text) for text in _readings(value))

    def _in_text(self, text: str) -> bool:
        if any(piece in text for piece in self._plain):
            return True
        text = text.translate(_ANOTHER_ALPHABET)
        return any(piece in text for piece in self._encoded)

    def _prepare(self) -> None:
        for token in self._unverified_tokens:
            parts = token.split(".")
            if len(parts) == 3 and len(parts[2]) >= SHORTEST:  # noqa: PLR2004 - a compact JWS, RFC 7515 7.1
                _, payload, signature = parts
                whole = [payload, signature] if len(payload) >= _PIECE else [signature]
                self._plain += whole[:-1]
                self._plain += [
                    signature[at : at + _PIECE] for at in range(0, len(signature) - _PIECE + 1, _PIECE)
                ]
            else:  # no token that any issuer's key verifies; a short one would be found everywhere
                whole = [token] if len(token) >= _PIECE else []
                self._plain += whole
            self._encoded += [form for text in whole for form in _in_base64(text)]


def names_access_token(url: str) -> bool:
    """Return whether the query of a path has a parameter ``access_token``, however that is spelled.

    RFC 6750 2.3 advises against it and OAuth 2.1 forbids it: URLs are logged everywhere.
    """
    query = url.partition("?")[2]
    if not query:
        return False
    return any(
        _ACCESS_TOKEN.fullmatch(part.partition("=")[0])
        for text in _readings(query)
        for part in _SEPARATORS.split(text)
    )


def _readings(text: str) -> Iterator[str]:
    """The text, and what it becomes when its percent-encoding is taken off, again and again."""
    yield text
    for _ in range(_LEVELS):
        if "%" not in text:
            return
        decoded = unquote(text, encoding="latin-1")
        if decoded == text:
            return
        text = decoded
        yield text


def _in_base64(text: str) -> Iterator[str]:
    """What base64 makes of a text, wherever it begins; without what its neighbours change."""
    raw = text.encode("utf-8", "surrogatepass")
    for before in range(3):
        aligned = (b"\0" * before + raw)[: (before + len(raw)) // 3 * 3]
        yield base64.b64encode(aligned).decode()[4 if before else 0 :]
