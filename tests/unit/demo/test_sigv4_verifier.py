"""The verifier is written without botocore; here botocore signs, so the two check each other."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.demo.sigv4_canonical import canonical_path, canonical_query
from extproc.demo.sigv4_request import ReceivedRequest, SignatureRejected, unverified_access_key_id
from extproc.demo.sigv4_verifier import Endpoint, KnownCredential, verify
from support.tables import each_case

HOST = "aws-mcp.us-east-1.api.aws"
ENDPOINT = Endpoint(host=HOST, region="us-east-1", service="aws-mcp")
CREDENTIAL = KnownCredential(
    access_key_id="ASIAABCDEFGHIJKLMNOP",
    secret_access_key="s" * 40,
    session_token="token/with+signs==",
    expiration=datetime(2999, 1, 1, tzinfo=UTC),
    arn="arn:aws:sts::123456789012:assumed-role/DemoAdmin/alice",
    session_name="alice",
)


def signed(
    method="POST",
    path="/mcp",
    query="",
    body=b"{}",
    headers=(),
    *,
    service="aws-mcp",
    region="us-east-1",
    signer=SigV4Auth,
):
    url = f"https://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, data=body)
    for name, value in headers:
        request.headers.add_header(name, value)
    credentials = Credentials(
        CREDENTIAL.access_key_id, CREDENTIAL.secret_access_key, CREDENTIAL.session_token
    )
    signer(credentials, service, region).add_auth(request)
    received = [(b"host", HOST.encode())]
    received += [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    return ReceivedRequest(
        method=method, raw_path=path.encode(), raw_query=query.encode(), headers=tuple(received), body=body
    )


def check(request, endpoint=ENDPOINT, credential=CREDENTIAL, now=None):
    lookup = {credential.access_key_id: credential}.get
    return verify(request, endpoint=endpoint, lookup=lookup, now=now or datetime.now(UTC))


def rejected(request, code, **options):
    with pytest.raises(SignatureRejected) as caught:
        check(request, **options)
    assert caught.value.code == code, caught.value
    assert CREDENTIAL.secret_access_key not in str(caught.value)


def with_header(request, name, change):
    """Return the request with a header's value changed; ``change`` of None drops it."""
    headers = [
        (key, value if key != name else change(value))
        for key, value in request.headers
        if key != name or change is not None
    ]
    return replace(request, headers=tuple(headers))


def header(request, name):
    return request.values(name)[0]


SEGMENT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).map(
    lambda text: quote(text, safe="-_.~")
)
PATHS = st.lists(
    st.one_of(SEGMENT, st.sampled_from(["..", ".", "", "arn%3Aaws%3A%2F", "a+b", "a:b@c"])), max_size=5
).map(lambda segments: "/" + "/".join(segments))
QUERIES = st.lists(st.tuples(SEGMENT, st.one_of(SEGMENT, st.just(""))), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
BODIES = st.binary(max_size=200)
TEXT = st.text(st.sampled_from("abcXYZ019 -_/=\t\"';,"), max_size=20)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["X-Amz-Meta", "Content-Type", "Mcp-Name", "X-One"]), TEXT),
    max_size=4,
    unique_by=lambda pair: pair[0],
)


@settings(max_examples=2 * settings.default.max_examples)
@given(st.sampled_from(["GET", "POST", "DELETE", "PATCH"]), PATHS, QUERIES, BODIES, HEADERS)
def test_what_botocore_signs_is_accepted(method, path, query, body, headers):
    request = signed(method, path, query, body, headers)
    verified = check(request)
    assert verified.arn == CREDENTIAL.arn
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(verified.signed_headers)


@given(PATHS, QUERIES, BODIES)
def test_what_botocore_signs_for_s3_is_accepted_with_s3_paths(path, query, body):
    # Keys go on the wire fully encoded; a literal plus or colon would be no canonical S3 path.
    path = path.replace("+", "%2B").replace(":", "%3A").replace("@", "%40")
    request = signed("PUT", path, query, body, service="s3", signer=S3SigV4Auth)
    check(request, endpoint=replace(ENDPOINT, service="s3", s3_style=True))


@given(st.binary(min_size=1, max_size=60), st.integers(min_value=0), st.integers(1, 255))
def test_any_changed_byte_of_the_body_is_rejected(body, position, flip):
    request = signed(body=body)
    changed = bytearray(body)
    changed[position % len(body)] ^= flip
    rejected(replace(request, body=bytes(changed)), "SignatureDoesNotMatch")


@given(
    st.text("abcdefgh", min_size=1, max_size=20),
    st.integers(min_value=0),
    st.sampled_from(b"0123456789ABCXYZ-_~+:%"),
    st.sampled_from(["raw_path", "raw_query"]),
)
def test_any_changed_byte_of_the_target_is_rejected(text, position, byte, part):
    request = signed(path=f"/{text}", query=f"{text}={text}")
    target = bytearray(getattr(request, part))
    # The slash that opens a path is not part of this game: a request target always has it.
    start = 1 if part == "raw_path" else 0
    target[start + position % (len(target) - start)] = byte
    rejected(replace(request, **{part: bytes(target)}), "SignatureDoesNotMatch")


@settings(max_examples=2 * settings.default.max_examples)
@given(
    st.sampled_from(["host", "x-amz-date", "x-amz-security-token", "content-type", "x-one", "authorization"]),
    st.integers(min_value=0),
    st.sampled_from(b"0123456789abcdefABCDEFxyz-_"),
)
def test_any_changed_byte_of_a_signed_header_is_rejected(name, position, byte):
    request = signed(headers=[("Content-Type", "application/json"), ("X-One", "value")])
    value = header(request, name)
    index = position % len(value)
    if value[index] == byte:
        return
    changed = value[:index] + bytes([byte]) + value[index + 1 :]
    with pytest.raises(SignatureRejected):
        check(with_header(request, name.encode(), lambda _: changed))


def test_another_method_is_rejected():
    rejected(replace(signed(), method="GET"), "SignatureDoesNotMatch")


@each_case(
    ("name", "code"),
    [
        (b"authorization", "MissingAuthenticationToken"),
        (b"x-amz-date", "IncompleteSignature"),
        (b"x-amz-security-token", "SignatureDoesNotMatch"),
        (b"host", "SignatureDoesNotMatch"),
        (b"x-one", "SignatureDoesNotMatch"),
    ],
)
def test_a_missing_header_is_rejected(name, code):
    rejected(with_header(signed(headers=[("X-One", "1")]), name, None), code)


@each_case("name", ["authorization", "host", "x-amz-date", "x-amz-security-token", "content-type"])
def test_a_header_sent_twice_is_rejected(name):
    request = signed(headers=[("Content-Type", "application/json")])
    twice = replace(request, headers=(*request.headers, (name.encode(), header(request, name))))
    with pytest.raises(SignatureRejected):
        check(twice)


@pytest.mark.parametrize("name", [b"x-amz-target", b"x-amz-content-sha256", b"content-type"])
def test_a_header_with_authority_added_after_signing_is_rejected(name):
    request = signed()
    added = replace(request, headers=(*request.headers, (name, hashlib.sha256(b"{}").hexdigest().encode())))
    rejected(added, "SignatureDoesNotMatch")


def test_an_ordinary_header_added_after_signing_changes_nothing():
    request = signed()
    check(replace(request, headers=(*request.headers, (b"x-forwarded-for", b"1.2.3.4"))))


@each_case(
    "value",
    [
        b"",
        b"Bearer eyJ.a.b",
        b"AWS4-HMAC-SHA256",
        b"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request",
        b"aws4-hmac-sha256 Credential=a/20260101/us-east-1/aws-mcp/aws4_request, SignedHeaders=host, Signature="
        + b"0" * 64,
        b"AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/aws-mcp/aws5_request, SignedHeaders=host, Signature="
        + b"0" * 64,
        b"AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/aws-mcp, SignedHeaders=host, Signature="
        + b"0" * 64,
        b"AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/aws-mcp/aws4_request, SignedHeaders=host, Signature="
        + b"0" * 63,
        b"AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/aws-mcp/aws4_request, SignedHeaders=host, Signature="
        + b"A" * 64,
        b"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature="
        + b"0" * 64,
        b"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature="
        + b"0" * 64
        + b", Extra=1",
        b"AWS4-HMAC-SHA256 Credential=\xc3\xa4/b/c/d/aws4_request, SignedHeaders=host, Signature="
        + b"0" * 64,
    ],
)
def test_an_authorization_that_is_not_sigv4_is_incomplete(value):
    request = with_header(signed(), b"authorization", lambda _: value)
    rejected(request, "IncompleteSignature")
    with pytest.raises(SignatureRejected):
        unverified_access_key_id(request)


def test_a_rejected_bearer_token_is_not_repeated():
    request = with_header(signed(), b"authorization", lambda _: b"Bearer eyJsecret.a.b")
    with pytest.raises(SignatureRejected) as caught:
        check(request)
    assert "eyJsecret" not in str(caught.value)


@each_case("signed_headers", [b"x-amz-date;host", b"host;host", b"Host", b"host;"])
def test_signed_headers_out_of_form_are_rejected(signed_headers):
    request = signed()
    names = header(request, "authorization").split(b"SignedHeaders=")[1].split(b",")[0]
    rejected(
        with_header(request, b"authorization", lambda value: value.replace(names, signed_headers)),
        "SignatureDoesNotMatch",
    )


@pytest.mark.parametrize("change", [{"service": "sts"}, {"region": "eu-west-1"}])
def test_a_scope_of_another_service_or_region_is_rejected(change):
    rejected(signed(**change), "SignatureDoesNotMatch")


def test_a_scope_of_another_day_is_rejected():
    request = signed()
    today = header(request, "x-amz-date")[:8]
    changed = with_header(request, b"authorization", lambda value: value.replace(b"/" + today, b"/20200101"))
    rejected(changed, "SignatureDoesNotMatch")


@each_case(
    "value", [b"2026-01-01T00:00:00Z", b"20260101T0000Z", b"20261301T000000Z", b"2026011T000000Z", b"\xff"]
)
def test_a_date_out_of_form_is_incomplete(value):
    rejected(with_header(signed(), b"x-amz-date", lambda _: value), "IncompleteSignature")


@each_case(("minutes", "accepted"), [(-6, False), (-4, True), (4, True), (6, False)])
def test_the_window_is_five_minutes_either_way(minutes, accepted):
    request, now = signed(), datetime.now(UTC) + timedelta(minutes=minutes)
    if accepted:
        check(request, now=now)
    else:
        rejected(request, "RequestTimeTooSkewed", now=now)


def test_an_unknown_key_is_rejected():
    rejected(signed(), "InvalidClientTokenId", credential=replace(CREDENTIAL, access_key_id="ASIAOTHER"))


def test_the_session_token_must_be_the_one_issued_with_the_key():
    rejected(signed(), "InvalidClientTokenId", credential=replace(CREDENTIAL, session_token="other"))


def test_another_secret_does_not_match():
    rejected(signed(), "SignatureDoesNotMatch", credential=replace(CREDENTIAL, secret_access_key="other"))


def test_spent_credentials_are_rejected():
    spent = replace(CREDENTIAL, expiration=datetime.now(UTC) - timedelta(seconds=1))
    rejected(signed(), "ExpiredToken", credential=spent)


def test_a_declared_payload_hash_must_be_the_real_one():
    good = hashlib.sha256(b"{}").hexdigest()
    check(signed(headers=[("X-Amz-Content-SHA256", good)]))
    rejected(signed(headers=[("X-Amz-Content-SHA256", "0" * 64)]), "XAmzContentSHA256Mismatch")


def test_an_unsigned_payload_needs_permission():
    request = signed(headers=[("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")])
    rejected(request, "XAmzContentSHA256Mismatch")
    check(replace(request, body=b"anything"), endpoint=replace(ENDPOINT, allow_unsigned_payload=True))


@each_case(
    ("raw", "canonical"),
    [
        (b"", b"/"),
        (b"/", b"/"),
        (b"//", b"/"),
        (b"/a/../..", b"/"),
        (b"/a//b/./c/", b"/a/b/c/"),
        (b"/example/..", b"/"),
        (b"/%3A", b"/%253A"),
        (b"/a b", b"/a%20b"),
        ("/\u1234".encode(), b"/%E1%88%B4"),
        (b"/a+b~", b"/a%2Bb~"),
    ],
)
def test_a_path_is_normalised_and_encoded_once_more(raw, canonical):
    assert canonical_path(raw, s3_style=False) == canonical


@each_case(
    ("raw", "canonical"),
    [
        (b"", b"/"),
        (b"/a//b/../c", b"/a//b/../c"),
        (b"/a%2fb", b"/a%2Fb"),
        (b"/a%20b", b"/a%20b"),
        (b"/%7e", b"/~"),
    ],
)
def test_an_s3_path_is_only_encoded_once_and_never_normalised(raw, canonical):
    assert canonical_path(raw, s3_style=True) == canonical


@each_case(
    ("raw", "canonical"),
    [
        (b"", b""),
        (b"b=2&a=1", b"a=1&b=2"),
        (b"a=2&a=1", b"a=1&a=2"),
        (b"a", b"a="),
        (b"a=b=c", b"a=b%3Dc"),
        (b"a=%7e+", b"a=~%2B"),
        (b"&&a=1&", b"a=1"),
        (b"p=2&p-1=1", b"p=2&p-1=1"),
    ],
)
def test_a_query_is_decoded_encoded_and_sorted(raw, canonical):
    assert canonical_query(raw) == canonical
