"""The request to be explained, as JSON: the parts that Envoy would pass on.

    {"method", "path", "headers", "body" | "body_base64", "trailers", "target", "jwt_payload"}

All members are optional. Only what HTTP cannot carry is refused here; the rest is for the server to refuse.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from extproc import strictjson
from extproc.explain.errors import BadInputError
from extproc.ext_proc import envoy_side

MEMBERS = frozenset({"method", "path", "headers", "body", "body_base64", "trailers", "target", "jwt_payload"})
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)  # RFC 9110 5.6.2
_IMPOSSIBLE = re.compile(r"[\r\n\0]")  # RFC 9110 5.5
_MAX_DEPTH = strictjson.MAX_DEPTH + 2  # a body that the server takes is one level down

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """One request.

    Attributes:
        headers: names in lower case; each character of a value is one byte (Latin-1).
        target: the target that the route names, or None.
        jwt_payload: the claims that Envoy's jwt_authn verified.
        says_jwt_payload: whether the document has ``jwt_payload``, which may be null.
    """

    method: str
    path: str
    authority: str
    headers: Fields = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    trailers: bool = False
    target: str | None = None
    jwt_payload: Mapping[str, Any] | None = field(default=None, repr=False)
    says_jwt_payload: bool = False

    def values(self, name: str) -> list[str]:
        """Return all values of one header."""
        return [value for key, value in self.headers if key == name]

    def with_bearer(self, unverified_token: str) -> "AskedRequest":
        """Return the request with a bearer token, or as it is if it has an ``authorization`` of its own."""
        if self.values("authorization"):
            return self
        return replace(self, headers=(*self.headers, ("authorization", f"Bearer {unverified_token}")))

    def messages(self) -> Iterator[bytes]:
        """Yield what Envoy would send, one message after the other."""
        pseudo = [(":method", _latin(self.method)), (":path", _latin(self.path))]
        pseudo += [(":authority", _latin(self.authority)), (":scheme", "https")]
        yield envoy_side.head_message(
            [*pseudo, *self.headers],
            has_body=bool(self.body) or self.trailers,
            jwt_payload=self.jwt_payload,
        )
        if self.body:
            yield envoy_side.body_message(self.body, trailers=self.trailers)
        if self.trailers:
            yield envoy_side.trailers_message()


def parse(document: bytes, *, authority: str) -> AskedRequest:
    """Read a request.

    Args:
        document: the JSON object.
        authority: the host that clients call, for a request without a ``host`` header.

    Raises:
        BadInputError: it does not have the form above, or HTTP cannot carry it.
    """
    try:
        request = strictjson.loads_object(document, max_depth=_MAX_DEPTH)
    except strictjson.AmbiguousJSONError as error:
        raise BadInputError(f"request: {error}") from None
    unknown = sorted(set(request) - MEMBERS)
    if unknown:
        raise BadInputError(f"request: unknown member {unknown[0]!r}; there are {', '.join(sorted(MEMBERS))}")
    method = _text(request, "method", "POST")
    path = "" if method == "CONNECT" else _text(request, "path", "/mcp")
    if not (path.startswith("/") or path == "*" or method == "CONNECT"):
        raise BadInputError("request: path must begin with a slash")
    headers = _fields(request.get("headers", {}))
    hosts = [value for name, value in headers if name == "host"]
    payload = request.get("jwt_payload")
    if payload is not None and not isinstance(payload, dict):
        raise BadInputError("request: jwt_payload must be an object of claims, or null")
    trailers = request.get("trailers", False)
    if not isinstance(trailers, bool | dict):
        raise BadInputError("request: trailers must be true or false, or an object")
    return AskedRequest(
        method=method,
        path=path,
        authority=hosts[0] if hosts else authority,
        headers=tuple(field for field in headers if field[0] != "host"),  # Envoy makes it :authority
        body=_body(request),
        trailers=bool(trailers),
        target=_text(request, "target", None),
        jwt_payload=payload,
        says_jwt_payload="jwt_payload" in request,
    )


def _text(request: Mapping[str, Any], name: str, default: Any) -> Any:
    value = request.get(name, default)
    if value is not default and (not isinstance(value, str) or _IMPOSSIBLE.search(value)):
        raise BadInputError(f"request: {name} must be a string on one line")
    return value


def _fields(headers: Any) -> Fields:
    """Return the headers of an object (a value may be a list) or of a list of pairs (in any order)."""
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    if not isinstance(pairs, list):
        raise BadInputError("request: headers must be an object, or a list of [name, value] pairs")
    fields = []
    for pair in pairs:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)):  # noqa: PLR2004
            raise BadInputError("request: headers must be an object, or a list of [name, value] pairs")
        name, given = pair
        for value in given if isinstance(given, list) else [given]:
            if not isinstance(value, str):
                raise BadInputError(f"request: header {name!r} must be a string or a list of strings")
            if not _NAME.fullmatch(name) or _IMPOSSIBLE.search(value):
                raise BadInputError(f"request: header {name!r}: HTTP has no such header")
            fields.append((name.lower(), _latin(value.strip(" \t"))))
    return tuple(fields)


def _body(request: Mapping[str, Any]) -> bytes:
    if "body_base64" in request:
        if "body" in request:
            raise BadInputError("request: body and body_base64 exclude each other")
        try:
            return base64.b64decode(request["body_base64"], validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise BadInputError("request: body_base64 is not base64") from None
    body = request.get("body", "")
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _latin(text: str) -> str:
    """Return the UTF-8 bytes of a string, one character each, as ``ext_proc.decoding`` returns them."""
    return text.encode().decode("latin-1")
