"""aws-chunked uploads through the real Envoy: stored as they were before the framing, or refused."""

import base64
import hashlib
import json
import os
import zlib

import pytest

from support.http import raw
from support.upstreams import stack_with

DATA = os.urandom(300_000)
CRC32 = base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()


@pytest.fixture(scope="module")
def shared_bucket(tmp_path_factory):
    with stack_with(
        tmp_path_factory.mktemp("bucket"), "s3", host="bucket.s3.us-east-1.amazonaws.com", prefix="/s3",
        arguments=["--s3-style"],
    ) as upstream:  # fmt: skip
        yield upstream


@pytest.fixture
def bucket(shared_bucket):
    shared_bucket.control("reset", {})
    shared_bucket.stack.control("mcp", "reset", {})
    return shared_bucket


def framed(data, *, extension="", trailer=f"x-amz-checksum-crc32:{CRC32}\r\n"):
    chunks = b""
    for at in range(0, len(data), 65536):
        piece = data[at : at + 65536]
        chunks += f"{len(piece):x}{extension}\r\n".encode() + piece + b"\r\n"
    return chunks + f"0{extension}\r\n{trailer}\r\n".encode()


def put(bucket, headers, body, *, path="/s3/key", framing=None):
    stack = bucket.stack
    framing = framing or f"Content-Length: {len(body)}"
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.token('demo-admin')}\r\n"
        f"Connection: close\r\n{headers}{framing}\r\n\r\n"
    )
    answer = raw(stack.addresses.envoy, head.encode() + body)
    return int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]


BOTO3 = (
    "Content-Encoding: aws-chunked\r\nX-Amz-Trailer: x-amz-checksum-crc32\r\n"
    f"X-Amz-Decoded-Content-Length: {len(DATA)}\r\nX-Amz-Sdk-Checksum-Algorithm: CRC32\r\n"
)
SIGNED = "X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\nContent-Encoding: aws-chunked\r\n"


def only_upload(bucket):
    (seen,) = bucket.seen
    assert seen["outcome"] == "verified"
    assert seen["body_length"] == len(DATA)
    assert seen["body_sha256"] == hashlib.sha256(DATA).hexdigest()
    headers = dict(seen["headers"])
    assert headers["content-length"] == str(len(DATA))
    assert "transfer-encoding" not in headers
    assert not {"x-amz-trailer", "x-amz-decoded-content-length"} & headers.keys()
    return headers


def test_what_boto3_sends_by_default_is_stored_as_it_is_with_its_checksum(bucket):
    for _ in range(3):
        bucket.control("reset", {})
        assert put(bucket, BOTO3, framed(DATA))[0] == 200
        headers = only_upload(bucket)
        assert headers["x-amz-checksum-crc32"] == CRC32
        assert "content-encoding" not in headers


def test_another_coding_of_the_content_stays(bucket):
    headers = BOTO3.replace("aws-chunked", "aws-chunked,gzip")
    assert put(bucket, headers, framed(DATA))[0] == 200
    assert only_upload(bucket)["content-encoding"] == "gzip"


def test_signed_chunks_are_decoded_too(bucket):
    body = framed(DATA, extension=";chunk-signature=" + "0a" * 32, trailer="")
    assert put(bucket, SIGNED, body)[0] == 200
    assert only_upload(bucket)["x-amz-content-sha256"] == hashlib.sha256(DATA).hexdigest()


def test_a_body_of_unknown_length_is_decoded_too(bucket):
    body = framed(DATA)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert put(bucket, BOTO3, chunked, framing="Transfer-Encoding: chunked")[0] == 200
    only_upload(bucket)


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        (BOTO3, framed(DATA[:-1] + bytes([DATA[-1] ^ 1])), "checksum"),
        (BOTO3.replace(str(len(DATA)), "5"), framed(DATA), "x-amz-decoded-content-length"),
        (BOTO3, framed(DATA, trailer=""), "trailers"),
        (BOTO3, DATA, "chunk"),
        (BOTO3, framed(DATA) + b"more", "end"),
        (BOTO3.replace("crc32", "xxhash64"), framed(DATA), "verified"),
        (SIGNED.replace("HMAC", "ECDSA-P256"), framed(DATA), "when_required"),
        (f"x-amz-content-sha256: {'00' * 32}\r\n", DATA, "another hash"),
    ],
    ids=[
        "a changed byte",
        "another length",
        "no trailer",
        "no framing",
        "more behind",
        "xxhash",
        "ecdsa",
        "hash",
    ],
)
def test_what_differs_or_cannot_be_verified_is_a_400_that_says_so_and_goes_nowhere(
    bucket, headers, body, says
):
    status, answer = put(bucket, headers, body)
    assert status == 400
    assert says in json.loads(answer)["error_description"]
    assert bucket.seen == []


def test_an_mcp_target_refuses_them_and_names_the_clients_setting(bucket):
    status, answer = put(bucket, BOTO3, framed(DATA), path="/echo")
    assert status == 400
    assert "AWS_REQUEST_CHECKSUM_CALCULATION" in json.loads(answer)["error_description"]
    assert bucket.stack.control("mcp", "stats")["received"] == 0
