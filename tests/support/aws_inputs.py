"""Parameters for every operation of a service, made from botocore's models."""

import datetime as dt
import io

WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
TEXTS = {
    "Bucket": "a-bucket",
    "Key": "folder/a b+c%20&=ü€'()*!.txt",
    "CopySource": "a-bucket/folder/source key",
    "RenameSource": "/a-bucket/old",
    "ExpectedBucketOwner": "123456789012",
    "ExpectedSourceBucketOwner": "123456789012",
    "QueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/queue",
    "CopySourceRange": "bytes=0-9",
    "Range": "bytes=0-9",
    "SSECustomerKey": "k" * 32,
    "CopySourceSSECustomerKey": "k" * 32,
    "RequestRoute": "route",
    "RequestToken": "token",
    "FunctionName": "arn:aws:lambda:us-east-1:123456789012:function:name:alias",
    "modelId": "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.some-model-v1:0",
}
# What the client works out itself from the body, or contradicts it.
_LEFT_OUT = frozenset(
    {"ContentLength", "ContentMD5", "SSECustomerKeyMD5", "CopySourceSSECustomerKeyMD5", "IfMatchSize"}
)
_DEPTH = 4


def parameters(operation, *, every):
    """What an operation requires, or with ``every`` each member it has."""
    shape = operation.input_shape
    return {} if shape is None else _structure(shape, every=every, depth=0)


def has_event_stream_input(operation):
    return operation.get_event_stream_input() is not None


def _structure(shape, *, every, depth):
    if shape.is_document_type:
        return {"a": 1}
    members = {
        name: member
        for name, member in shape.members.items()
        if (name in shape.required_members or (every and depth < _DEPTH)) and name not in _LEFT_OUT
    }
    if shape.is_tagged_union and depth:
        # The first member that does not lead back to the union.
        simple = {name: member for name, member in shape.members.items() if member.type_name != "structure"}
        members = dict(list((simple or shape.members).items())[:1])
    if not every and not depth and not shape.required_members:
        members = {}
    return {
        name: _value(member, name, every=every, depth=depth + 1)
        for name, member in members.items()
        if not name.startswith("Checksum") or name in ("ChecksumAlgorithm", "ChecksumMode", "ChecksumType")
    }


def _value(shape, name, *, every, depth):
    kind = shape.type_name
    if kind == "structure":
        return _structure(shape, every=every, depth=depth)
    if kind == "list":
        count = max(1, shape.metadata.get("min", 1))
        return [_value(shape.member, name, every=every, depth=depth + 1)] * min(count, 3)
    if kind == "map":
        key = _value(shape.key, "key", every=every, depth=depth + 1)
        return {key: _value(shape.value, "value", every=every, depth=depth + 1)}
    if kind == "string":
        return _text(shape, name)
    if kind == "blob":
        data = b"\x00binary \xff\r\n" * 3
        return io.BytesIO(data) if shape.serialization.get("streaming") else data
    return {
        "boolean": True,
        "timestamp": WHEN,
        "integer": shape.metadata.get("min", 1),
        "long": shape.metadata.get("min", 1),
        "float": max(1.5, shape.metadata.get("min", 0)),
        "double": max(1.5, shape.metadata.get("min", 0)),
        "bigdecimal": 1,
    }[kind]


def _text(shape, name):
    if shape.enum:
        return shape.enum[0]
    if shape.serialization.get("jsonvalue"):
        return {"a": 1}
    text = TEXTS.get(name, "text")
    return text.ljust(shape.metadata.get("min", 1), "x")
