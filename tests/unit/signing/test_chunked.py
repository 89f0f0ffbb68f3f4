"""aws-chunked bodies are decoded to exactly what was sent, or refused."""

import base64
import contextlib
import hashlib

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Denied, Reason
from extproc.signing.checksums import ALGORITHMS, checksum
from extproc.signing.chunked import Chunked, chunked_body, decode
from extproc.signing.payload import payload_of
from extproc.signing.sigv4 import Scope
from extproc.signing.targets import Target
from extproc.values import RequestHead
from support.tables import each_case

CRC = frozenset({"x-amz-checksum-crc32"})
PLAIN = Chunked(signed=False, length=None, trailers=frozenset(), content_encoding="")
SIGNATURE = b";chunk-signature=" + b"0a" * 32


def head(*headers, has_body=True):
    return RequestHead("PUT", "/k", "gateway.example", tuple(headers), has_body=has_body)


def frame(data, *, size=1000, extension=b"", trailers=()):
    pieces = [data[at : at + size] for at in range(0, len(data), size)] + [b""]
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
    return chunks + b"0%s\r\n" % extension + b"".join(b"%s:%s\r\n" % pair for pair in trailers) + b"\r\n"


def reason(call, *arguments):
    with pytest.raises(Denied) as denied:
        call(*arguments)
    assert denied.value.client_text
    return denied.value.reason


@each_case(
    ("name", "wanted"),
    [  # of "123456789": the check values of the catalogue of CRC algorithms, and of the RFCs
        ("crc32", "cbf43926"),
        ("crc32c", "e3069283"),
        ("crc64nvme", "ae8b14860a799888"),
        ("md5", "25f9e794323b453885f5181f1b624d0b"),
        ("sha1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
    ],
)
def test_checksums_are_those_of_the_catalogue(name, wanted):
    assert base64.b64decode(checksum(f"x-amz-checksum-{name}", b"123456789")).hex() == wanted


def _bitwise(data, polynomial, width):
    value = mask = (1 << width) - 1
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
    return (value ^ mask).to_bytes(width // 8, "big")


@given(data=st.binary(max_size=300))
def test_castagnolis_and_nvmes_checksums_are_what_their_polynomials_give_bit_by_bit(data):
    assert ALGORITHMS["crc32c"](data) == _bitwise(data, 0x82F63B78, 32)
    assert ALGORITHMS["crc64nvme"](data) == _bitwise(data, 0x9A6C9329AC4BC9B5, 64)


@given(
    data=st.binary(max_size=5000), size=st.integers(1, 2000), algorithm=st.sampled_from(sorted(ALGORITHMS))
)
def test_what_is_framed_is_decoded_and_its_checksum_becomes_a_header(data, size, algorithm):
    name = f"x-amz-checksum-{algorithm}"
    value = checksum(name, data)
    body = frame(data, size=max(size, len(data) // 900 + 1), trailers=[(name.encode(), value.encode())])
    chunked = Chunked(signed=False, length=len(data), trailers=frozenset({name}), content_encoding="")
    assert decode(body, chunked) == (data, ((name, value),))


@given(data=st.binary(max_size=3000), size=st.integers(1, 3000))
def test_what_boto3_frames_is_decoded(data, size):
    class Raw:
        at = 0

        def read(self, count):
            self.at += count
            return data[self.at - count : self.at]

    wrapper = AwsChunkedWrapper(
        Raw(), checksum_cls=Crc32Checksum, checksum_name="x-amz-checksum-crc32", chunk_size=max(size, 10)
    )
    chunked = Chunked(signed=False, length=len(data), trailers=CRC, content_encoding="")
    assert decode(b"".join(wrapper), chunked)[0] == data


@given(data=st.binary(min_size=1, max_size=400), at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_nothing(data, at, flip):
    value = checksum("x-amz-checksum-sha256", data).encode()
    body = bytearray(frame(data, size=64, trailers=[(b"x-amz-checksum-sha256", value)]))
    body[at % len(body)] ^= flip
    chunked = Chunked(
        signed=False, length=len(data), trailers=frozenset({"x-amz-checksum-sha256"}), content_encoding=""
    )
    with contextlib.suppress(Denied):
        assert decode(bytes(body), chunked)[0] == data


@given(body=st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(body):
    for signed in (False, True):
        with contextlib.suppress(Denied):
            decode(body, Chunked(signed=signed, length=None, trailers=frozenset(), content_encoding=""))


def test_signed_chunks_lose_their_signatures():
    chunked = Chunked(signed=True, length=5, trailers=CRC, content_encoding="")
    value = checksum("x-amz-checksum-crc32", b"hello").encode()
    for end in (b"\r\n", b"\n\r\n"):  # the second is that of AWS's example
        body = frame(b"hello", extension=SIGNATURE)[:-2] + b"x-amz-checksum-crc32:" + value + end
        body += b"x-amz-trailer-signature:" + b"0b" * 32 + b"\r\n\r\n"
        assert decode(body, chunked) == (b"hello", (("x-amz-checksum-crc32", value.decode()),))


@each_case(
    "body",
    [
        b"", b"\r\n", b"0", b"0\r\n", b"5\r\nhello\r\n", b"5\r\nhello", b"5\r\nhell\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"1_0\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n", b"5;a=b\r\nhello\r\n0\r\n\r\n", b"5" + SIGNATURE + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\nmore", b"5\r\nhello\r\n0\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", b"5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
        b"fffffffff\r\nhello\r\n0\r\n\r\n", b"ffffffff\r\nhello\r\n0\r\n\r\n", b'{"a": 1}', b"hello",
        b"5\r\nhello\r\n0\r\n" + b"\r\n" * 4000,
    ],
)  # fmt: skip
def test_broken_framing_is_refused(body):
    assert reason(decode, body, PLAIN) is Reason.BODY_DIFFERS


def test_a_body_in_very_many_very_small_chunks_is_refused():
    assert decode(frame(b"a" * 1000, size=1), PLAIN)[0] == b"a" * 1000
    assert reason(decode, frame(b"a" * 5000, size=1), PLAIN) is Reason.BODY_DIFFERS


@each_case(
    ("length", "trailers", "sent"),
    [
        (4, (), ()),
        (6, (), ()),
        (None, CRC, ()),
        (None, CRC, [(b"x-amz-checksum-crc32", b"AAAAAA==")]),
        (None, CRC, [(b"x-amz-checksum-crc32", b"NhCmhg==")] * 2),
        (None, CRC, [(b"x-amz-checksum-crc32", b"NhCmhg")]),
        (None, (), [(b"x-amz-trailer-signature", b"0a")]),
    ],
)
def test_a_wrong_length_or_checksum_or_other_trailers_are_refused(length, trailers, sent):
    chunked = Chunked(signed=False, length=length, trailers=frozenset(trailers), content_encoding="")
    assert reason(decode, frame(b"hello", trailers=sent), chunked) is Reason.BODY_DIFFERS


CODING = ("content-encoding", "aws-chunked")


@each_case(
    ("headers", "wanted"),
    [
        ((CODING,), PLAIN),
        ((("content-encoding", "gzip, AWS-Chunked"),), Chunked(False, None, frozenset(), "gzip")),
        ((("content-encoding", "aws-chunked,gzip,br"),), Chunked(False, None, frozenset(), "gzip,br")),
        ((CODING, ("content-encoding", "gzip")), Chunked(False, None, frozenset(), "gzip")),
        ((("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),), PLAIN),
        (
            (
                ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
                ("x-amz-decoded-content-length", "5"),
            ),
            Chunked(True, 5, frozenset(), ""),
        ),
        ((CODING, ("x-amz-trailer", "X-Amz-Checksum-CRC32")), Chunked(False, None, CRC, "")),
        ((("content-encoding", "gzip"),), None),
        ((("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),), None),
        ((), None),
    ],
)
def test_a_head_describes_its_body(headers, wanted):
    assert chunked_body(head(*headers), "decode") == wanted


@each_case(
    "headers",
    [
        (CODING, CODING),
        (("content-encoding", "aws-chunked,aws-chunked"),),
        (CODING, ("x-amz-content-sha256", hashlib.sha256(b"").hexdigest())),
        (CODING, ("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")),
        (("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"),),
        (("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-EVENTS"),),
        (("x-amz-content-sha256", "streaming-unsigned-payload-trailer"),),
        (CODING, ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")),
        (CODING, ("x-amz-decoded-content-length", "-1")),
        (CODING, ("x-amz-decoded-content-length", "5"), ("x-amz-decoded-content-length", "5")),
        (CODING, ("x-amz-trailer", "x-amz-checksum-xxhash64")),
        (CODING, ("x-amz-trailer", "x-amz-meta-a")),
        (CODING, ("x-amz-trailer", "md5")),
        (("content-encoding", "aws-chunked,gz\tip"),),
        (("content-encoding", "aws-chunked,gz\xe9"),),
        (("content-encoding", "aws-chunked, aws-chunked;q=1"),),
        (CODING, ("x-amz-trailer", "authorization")),
        (CODING, ("x-amz-trailer", "x-amz-checksum-crc32,x-amz-checksum-crc32")),
        (CODING, ("x-amz-trailer", "x-amz-checksum-crc32"), ("x-amz-checksum-crc32", "AAAAAA==")),
        (("x-amz-trailer", "x-amz-checksum-crc32"),),
        (("x-amz-decoded-content-length", "5"),),
    ],
)
def test_a_head_that_contradicts_itself_or_cannot_be_verified_is_refused(headers):
    assert reason(chunked_body, head(*headers), "decode") is Reason.BODY_CODING_REFUSED


def test_a_chunked_head_without_a_body_is_refused():
    assert reason(chunked_body, head(CODING, has_body=False), "decode") is Reason.BODY_CODING_REFUSED


@pytest.mark.parametrize("header", [CODING, ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")])
def test_where_they_are_not_decoded_the_refusal_names_the_clients_setting(header):
    with pytest.raises(Denied) as denied:
        chunked_body(head(header), "refuse")
    assert 'AWS_REQUEST_CHECKSUM_CALCULATION) to "when_required"' in denied.value.client_text


S3 = Target(name="s3", host="b.s3.us-east-1.amazonaws.com", scope=Scope("us-east-1", "s3"))


def test_a_clients_own_hash_of_another_body_is_refused_and_one_of_this_body_is_not():
    digest = hashlib.sha256(b"hello").hexdigest()
    for value in (digest, digest.upper(), "UNSIGNED-PAYLOAD", "required", ""):
        sent = head(("x-amz-content-sha256", value))
        assert payload_of(b"hello", head=sent, target=S3).hash == digest
    for hashes in (["00" * 32], [digest, "00" * 32]):
        sent = head(*(("x-amz-content-sha256", value) for value in hashes))
        with pytest.raises(Denied) as denied:
            payload_of(b"hello", head=sent, target=S3)
        assert denied.value.reason is Reason.BODY_DIFFERS


def test_a_body_with_a_checksum_of_the_clients_is_never_given_a_region():
    target = Target(name="t", host="h", scope=Scope("r", "x"), default_aws_region="eu-central-1")
    sent = head(("content-type", "application/json"), ("x-amz-checksum-crc32", "AAAAAA=="))
    call = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    assert payload_of(call, head=sent, target=target).body == call


@pytest.mark.parametrize("end", [b"XX", b"\n\n", b"\r\r"])
def test_a_chunk_that_does_not_end_where_it_says_is_refused(end):
    whole = frame(b"abcd")
    assert decode(whole, PLAIN) == (b"abcd", ())
    assert reason(decode, whole.replace(b"abcd\r\n", b"abcd" + end), PLAIN) is Reason.BODY_DIFFERS


def test_several_trailers_and_codings_are_read_each():
    chunked = chunked_body(
        head(
            ("content-encoding", "gzip,aws-chunked, br"),
            ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            ("x-amz-trailer", "x-amz-checksum-crc32, x-amz-checksum-sha256"),
        ),
        "decode",
    )
    assert chunked.content_encoding == "gzip,br"
    assert chunked.trailers == {"x-amz-checksum-crc32", "x-amz-checksum-sha256"}


def test_a_refusal_names_the_checksums_that_can_be_verified():
    with pytest.raises(Denied) as denied:
        chunked_body(
            head(
                ("content-encoding", "aws-chunked"),
                ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
                ("x-amz-trailer", "x-amz-checksum-xxhash3"),
            ),
            "decode",
        )
    assert "CRC32C, CRC64NVME" in denied.value.client_text
    assert denied.value.client_text.startswith("A trailer ")


def test_the_search_for_a_first_line_is_bounded():
    with pytest.raises(Denied):
        decode(b"0" * 100_000 + b"\r\n\r\n", PLAIN)
    assert decode(b"2\r\nok\r\n0\r\n\r\n", PLAIN)[0] == b"ok"
