"""The body as it goes upstream, and its hash.

Hashing is the only costly step of signing. It is pure, so callers may run it in another thread, where a
large body does not delay other requests.
"""

import json
import re
from typing import NamedTuple

from extproc import strictjson
from extproc.errors import Denied, Reason
from extproc.signing.checksums import PREFIX
from extproc.signing.chunked import Chunked, decode
from extproc.signing.sigv4 import UNSIGNED_PAYLOAD, payload_hash
from extproc.signing.targets import Target
from extproc.values import RequestHead

REGION_FIELD = "AWS_REGION"
LARGEST_MESSAGE = 256 * 1024
"""Bytes. A larger body does not get a default region: parsing it would cost more than hashing it."""

_MOST_MEMBERS = 20_000  # likewise: a message that is cheap to send must not be expensive to parse

# Computed over the body by the client: they would be wrong for a changed body.
_DIGESTS = frozenset({"content-md5", "digest", "content-digest", "repr-digest", "content-encoding"})
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_SPACE = " \t\r\n"


class Payload(NamedTuple):
    """The body that goes upstream, and its hash.

    Attributes:
        body: the bytes that go upstream.
        hash: the payload hash in the canonical request.
        changed: whether the body differs from the client's.
        headers: further headers that describe the body, to be set and signed.
    """

    body: bytes
    hash: str
    changed: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Payload(hash={self.hash!r}, changed={self.changed})"


def payload_of(body: bytes, *, head: RequestHead, target: Target, chunked: Chunked | None = None) -> Payload:
    """Return the payload for the target: the body, decoded or with the default region where that applies.

    Raises:
        Denied: ``BODY_DIFFERS`` if the body is not the one that the head announces.
    """
    if chunked is not None:
        return _decoded(body, chunked, target)
    if target.payload == "unsigned":
        return Payload(body, UNSIGNED_PAYLOAD)
    digest = payload_hash(body)
    if "x-amz-content-sha256" in head.names:
        _check_announced(head, digest)
    if target.default_aws_region is not None and _is_plain_json(head):
        filled = with_default_region(body, target.default_aws_region)
        if filled is not body:
            return Payload(filled, payload_hash(filled), changed=True)
    return Payload(body, digest)


def _decoded(body: bytes, chunked: Chunked, target: Target) -> Payload:
    data, headers = decode(body, chunked)
    if chunked.content_encoding:
        headers = (("content-encoding", chunked.content_encoding), *headers)
    signed = payload_hash(data) if target.payload == "signed" else UNSIGNED_PAYLOAD
    return Payload(data, signed, changed=True, headers=headers)


def _check_announced(head: RequestHead, digest: str) -> None:
    """Refuse a body that differs from the client's hash of it. Other values of the header are ignored."""
    for announced in head.values("x-amz-content-sha256"):
        if _SHA256.fullmatch(announced) and announced.lower() != digest:
            raise Denied(
                Reason.BODY_DIFFERS,
                "the body has another hash than the client's x-amz-content-sha256",
                client_text="The body has another hash than x-amz-content-sha256 says.",
            )


def _is_plain_json(head: RequestHead) -> bool:
    types = head.values("content-type")
    return (
        len(types) == 1
        and types[0].partition(";")[0].strip().lower() == "application/json"
        and not any(name in _DIGESTS or name.startswith(PREFIX) for name in head.names)
    )


def with_default_region(body: bytes, region: str) -> bytes:
    """Add ``params._meta.AWS_REGION`` to a JSON-RPC request or notification without it.

    The member is inserted and every other byte is kept, including the form of numbers and white space. A
    body that is not one unambiguous JSON-RPC object is returned unchanged: a default is a convenience,
    not a check, so nothing is refused here.
    """
    if len(body) > LARGEST_MESSAGE or body.count(b",") + body.count(b"[") > _MOST_MEMBERS:
        return body
    try:
        message = strictjson.loads_object(body)
    except strictjson.AmbiguousJSONError:
        return body
    params = message.get("params", {})
    meta = params.get("_meta", {}) if isinstance(params, dict) else None
    if message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        return body  # a response has no params
    if not isinstance(meta, dict) or REGION_FIELD in meta:
        return body
    member = f"{json.dumps(REGION_FIELD)}:{json.dumps(region)}"
    if "_meta" not in params:
        member = f'"_meta":{{{member}}}'
    if "params" not in message:
        member = f'"params":{{{member}}}'
    text = body.decode("utf-8")
    at = _skip_space(text, 0)
    for name in ("params", "_meta"):
        inner = _value_position(text, at, name)
        if inner is None:
            break
        at = inner
    rest = _skip_space(text, at + 1)
    comma = "" if text[rest] == "}" else ","
    return f"{text[: at + 1]}{member}{comma}{text[at + 1 :]}".encode()


def _value_position(text: str, at: int, name: str) -> int | None:
    """Return the position of a member's value in the valid object at ``at``; None without the member."""
    decoder = json.JSONDecoder()
    position = _skip_space(text, at + 1)
    while text[position] == '"':
        key, position = decoder.raw_decode(text, position)
        value = _skip_space(text, _skip_space(text, position) + 1)
        if key == name:
            return value
        _, position = decoder.raw_decode(text, value)
        position = _skip_space(text, position)
        if text[position] == ",":
            position = _skip_space(text, position + 1)
    return None


def _skip_space(text: str, position: int) -> int:
    while text[position] in _SPACE:
        position += 1
    return position
