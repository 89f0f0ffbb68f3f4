"""Copies of a request's tokens, in its headers and its URL.

Proxies and login pages in front of Envoy copy the token into headers of their own, and clients put it
into URLs. An upstream that receives a copy can act as the user wherever the token is accepted.

Found are the signature or a large part of it, the payload, and the whole of a token that is no JWS: plain,
percent-encoded up to three times, and in base64 or base64url. Not found are copies in bodies, and copies
that were compressed, encrypted or written in another alphabet, which only their sender could have done.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

SHORTEST = 64
"""Characters of the shortest value that may hold a copy: the shortest accepted signature has 86
(ES256: 64 bytes in base64url, RFC 7518 3.4). Header values that ``head_memory`` does not compare are
shorter."""

_PIECE = 32  # characters: any 63 consecutive ones of a signature contain a whole piece
_LEVELS = 3  # of percent-encoding
_BASE64URL_TO_BASE64 = str.maketrans("-_", "+/")
_ACCESS_TOKEN = re.compile(r"\s*access_token\s*(?:\[.*)?", re.ASCII | re.IGNORECASE | re.DOTALL)
_SEPARATORS = re.compile(r"[?&;#]")


class TokenCopies:
    """Finds copies of some tokens. The search strings are built when the first long enough value comes."""

    __slots__ = ("_encoded", "_plain", "_unverified_tokens")

    def __init__(self, unverified_tokens: Iterable[str]) -> None:
        self._unverified_tokens = tuple(unverified_tokens)
        self._plain: list[str] = []
        self._encoded: list[str] = []

    def __repr__(self) -> str:
        return "TokenCopies()"

    def any_in(self, values: Iterable[str]) -> bool:
        """Return whether one of the values contains a copy."""
        return any(self.is_in(value) for value in values)

    def is_in(self, value: str) -> bool:
        """Return whether a value contains a copy."""
        if len(value) < SHORTEST:
            return False
        if not self._plain:
            self._prepare()
        return any(self._is_in_decoded(decoded) for decoded in _decodings(value))

    def _is_in_decoded(self, value: str) -> bool:
        if any(piece in value for piece in self._plain):
            return True
        value = value.translate(_BASE64URL_TO_BASE64)
        return any(piece in value for piece in self._encoded)

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
            else:  # no key verifies such a token; a short one would be found everywhere
                whole = [token] if len(token) >= _PIECE else []
                self._plain += whole
            self._encoded += [form for part in whole for form in _in_base64(part)]


def names_access_token(url: str) -> bool:
    """Return whether the query of a path has a parameter ``access_token``, in any spelling.

    RFC 6750 2.3 advises against it and OAuth 2.1 forbids it: URLs are logged everywhere.
    """
    query = url.partition("?")[2]
    if not query:
        return False
    return any(
        _ACCESS_TOKEN.fullmatch(part.partition("=")[0])
        for decoded in _decodings(query)
        for part in _SEPARATORS.split(decoded)
    )


def _decodings(value: str) -> Iterator[str]:
    """Yield the value, then what each further percent-decoding makes of it."""
    yield value
    for _ in range(_LEVELS):
        if "%" not in value:
            return
        decoded = unquote(value, encoding="latin-1")
        if decoded == value:
            return
        value = decoded
        yield value


def _in_base64(value: str) -> Iterator[str]:
    """Yield the base64 form for each alignment, without the characters that neighbouring bytes change."""
    raw = value.encode("utf-8", "surrogatepass")
    for before in range(3):
        aligned = (b"\0" * before + raw)[: (before + len(raw)) // 3 * 3]
        yield base64.b64encode(aligned).decode()[4 if before else 0 :]
