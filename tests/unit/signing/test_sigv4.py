"""Signatures: AWS's documented example, and equality with botocore at every checkpoint."""

import hashlib
import urllib.parse

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given
from hypothesis import strategies as st

from extproc.errors import Denied
from extproc.signing import sigv4
from extproc.signing.path import forwardable
from extproc.signing.sigv4 import Scope
from support.tables import each_case

AT = "20150830T123600Z"
ACCESS_KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////token=="
HOST = "aws-mcp.us-east-1.api.aws"


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, GET ListUsers
LIST_USERS_REQUEST = """\
GET
/
Action=ListUsers&Version=2010-05-08
content-type:application/x-www-form-urlencoded; charset=utf-8
host:iam.amazonaws.com
x-amz-date:20150830T123600Z

content-type;host;x-amz-date
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"""
LIST_USERS_TO_SIGN = """\
AWS4-HMAC-SHA256
20150830T123600Z
20150830/us-east-1/iam/aws4_request
f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"""


LIST_USERS_HEADERS = sigv4.CanonicalHeaders.of(
    sigv4.canonical_headers(
        [
            ("Host", "iam.amazonaws.com"),
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("X-Amz-Date", AT),
        ]
    )
)


def list_users_request():
    return sigv4.canonical_request(
        method="GET",
        uri=sigv4.canonical_uri("/"),
        query=sigv4.canonical_query("Version=2010-05-08&Action=ListUsers"),
        headers=LIST_USERS_HEADERS,
        payload=sigv4.payload_hash(b""),
    )


def test_awss_example_has_its_canonical_request():
    assert list_users_request() == LIST_USERS_REQUEST


def test_awss_example_has_its_string_to_sign():
    scope = sigv4.credential_scope("20150830", Scope("us-east-1", "iam"))
    to_sign = sigv4.string_to_sign(
        at=AT, scope=scope, request_hash=hashlib.sha256(LIST_USERS_REQUEST.encode()).hexdigest()
    )
    assert to_sign == LIST_USERS_TO_SIGN


def test_awss_example_has_its_signing_key():
    key = sigv4.signing_key(SECRET, "20150830", Scope("us-east-1", "iam"))
    assert key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"


def test_awss_example_has_its_signature():
    prepared = sigv4.prepare(
        headers=LIST_USERS_HEADERS,
        at=AT,
        scope=Scope("us-east-1", "iam"),
        access_key_id=ACCESS_KEY_ID,
        key=sigv4.signing_key(SECRET, "20150830", Scope("us-east-1", "iam")),
    )
    signature = sigv4.sign(
        prepared,
        method="GET",
        uri="/",
        query="Action=ListUsers&Version=2010-05-08",
        payload=sigv4.payload_hash(b""),
    )
    assert signature.canonical_request == LIST_USERS_REQUEST
    assert signature.string_to_sign == LIST_USERS_TO_SIGN
    assert signature.signed_headers == "content-type;host;x-amz-date"
    assert signature.signature == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    assert signature.authorization == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


def test_every_input_of_the_signing_key_gives_another_key():
    inputs = [
        (SECRET, "20150830", Scope("us-east-1", "iam")),
        (SECRET + "x", "20150830", Scope("us-east-1", "iam")),
        (SECRET, "20150831", Scope("us-east-1", "iam")),
        (SECRET, "20150830", Scope("us-east-2", "iam")),
        (SECRET, "20150830", Scope("us-east-1", "sts")),
    ]
    first = [sigv4.signing_key(*given_inputs) for given_inputs in inputs]
    again = [sigv4.signing_key(*given_inputs) for given_inputs in reversed(inputs)]
    assert len(set(first)) == len(inputs)
    assert again == first[::-1]


def test_a_timestamp_is_in_utc_and_to_the_second():
    assert sigv4.timestamp(1_440_938_160.999) == AT


@each_case(
    ("path", "signed"),
    [
        ("", "/"),
        ("/", "/"),
        ("/mcp", "/mcp"),
        ("/mcp/", "/mcp/"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%2520b"),
        ("/runtimes/arn%3Aaws%3Ax/invocations", "/runtimes/arn%253Aaws%253Ax/invocations"),
        ("/a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/..", "/"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a;b", "/a%3Bb"),
        ("/~a_b-c.d", "/~a_b-c.d"),
    ],
)
def test_the_path_is_normalised_and_encoded_once_more(path, signed):
    assert sigv4.canonical_uri(path) == signed


@each_case(
    ("path", "signed"),
    [("", "/"), ("/a%2Fb", "/a%2Fb"), ("/a//b/../c", "/a//b/../c"), ("/a%20b~", "/a%20b~")],
)
def test_s3_paths_are_signed_as_sent(path, signed):
    assert sigv4.canonical_uri(path, normalize=False, double_encode=False) == signed


@each_case(
    ("query", "signed"),
    [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1", "a=1&a=2"),
        ("a", "a="),
        ("a=b=c", "a=b%3Dc"),
        ("a=%2f", "a=%2F"),
        ("a=~%7E", "a=~~"),
        ("a=b+c", "a=b%2Bc"),
        ("a=é", "a=%C3%A9"),
        ("&&a=1&", "a=1"),
        ("A=1&a=1&B=1", "A=1&B=1&a=1"),
        ("a-=1&a=2", "a=2&a-=1"),
    ],
)
def test_the_query_is_encoded_strictly_and_sorted(query, signed):
    assert sigv4.canonical_query(query) == signed


def test_headers_are_lower_case_sorted_trimmed_folded_and_joined():
    headers = [("X-B", "  two   spaces \t and tab "), ("x-a", "1"), ("X-b", "again"), ("Host", "h")]
    assert sigv4.canonical_headers(headers) == [
        ("host", "h"),
        ("x-a", "1"),
        ("x-b", "two spaces and tab,again"),
    ]


def test_a_line_break_in_a_value_cannot_add_a_line_to_the_canonical_request():
    assert sigv4.canonical_headers([("x-a", "1\r\nhost:evil\n")]) == [("x-a", "1 host:evil")]


# Equality with botocore.
#
# Where the two are known to differ on purpose, the strategies stay away from it:
# * botocore signs a URL's query as it finds it and does not encode it again: it gets the query that
#   ``forwardable`` made, which is the one that goes upstream;
# * botocore signs an S3 path as it finds it, where AWS's documentation encodes every other character:
#   it gets the path that ``forwardable`` made;
# * ``forwardable`` refuses dot segments and doubled slashes, so botocore's reading of "/a/." does not matter.

SEGMENT_PARTS = [
    "a",
    "Z9",
    "-",
    "_",
    "~",
    ".x",
    "%2F",
    "%25",
    "%3A",
    "%20",
    "%C3%A9",
    "%2f",
    "%7E",
    ";",
    "=",
    ":",
    "@",
]
RAW_PARTS = ["!", "$", "&", "'", "(", ")", "*", "+", ","]
S3_SEGMENT_PARTS = [
    "a",
    "Z9",
    "-",
    "_",
    "~",
    ".x",
    "%25",
    "%20",
    "%C3%A9",
    "%7e",
    "%c3%a9",
    ";",
    "!",
    "=",
    "+",
    ",",
]
ARN = "arn%3Aaws%3Abedrock-agentcore%3Aus-east-1%3A123456789012%3Aruntime%2Fagent-x1"


def paths(parts):
    segment = st.lists(st.sampled_from(parts), min_size=1, max_size=5).map("".join)
    if "%2F" in parts:
        segment |= st.just(ARN)
    return st.builds(
        lambda segments, slash: "/" + "/".join(segments) + (slash if segments else ""),
        st.lists(segment, max_size=4),
        st.sampled_from(["", "/"]),
    )


QUERY_PARTS = [
    "a",
    "B",
    "x-y",
    "~",
    "%20",
    "%2F",
    "%2f",
    "%25",
    "%C3%A9",
    "é".encode().hex(),
    ":",
    "/",
    "?",
    "[",
    "'",
    ",",
]
names_and_values = st.lists(st.sampled_from(QUERY_PARTS), max_size=4).map("".join)
queries = st.lists(
    st.builds(
        lambda name, sign, value: name + sign + value,
        names_and_values,
        st.sampled_from(["=", "", "=="]),
        names_and_values,
    ),
    max_size=5,
).map("&".join)
methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
bodies = st.binary(max_size=60)
content_types = st.none() | st.sampled_from(
    ["application/json", "application/json; charset=utf-8", 'text/plain;  boundary="a  b"', " padded\t "]
)
scopes = st.builds(
    Scope,
    st.sampled_from(["us-east-1", "eu-central-1"]),
    st.sampled_from(["aws-mcp", "bedrock-agentcore", "iam"]),
)
tokens = st.none() | st.just(TOKEN)


def by_botocore(auth_class, *, method, path, query, body, content_type, token, scope, host=HOST):
    """botocore's checkpoints for a request with only the headers that we would sign."""
    auth = auth_class(Credentials(ACCESS_KEY_ID, SECRET, token), scope.service, scope.region)
    url = f"https://{host}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(
        method=method,
        url=url,
        data=body,
        headers={"Content-Type": content_type} if content_type is not None else {},
    )
    request.context["timestamp"] = AT
    # What add_auth does after it has asked for the time.
    auth._modify_request_before_signing(request)
    canonical = auth.canonical_request(request)
    to_sign = auth.string_to_sign(request, canonical)
    auth._inject_signature_to_request(request, auth.signature(to_sign, request))
    return canonical, to_sign, request.headers["Authorization"]


def by_us(*, method, path, query, body, content_type, token, scope, host=HOST, s3=False):
    headers = [("host", host), ("x-amz-date", AT)]
    if content_type is not None:
        headers.append(("content-type", content_type))
    if token is not None:
        headers.append(("x-amz-security-token", token))
    payload = sigv4.payload_hash(body)
    if s3:
        headers.append(("x-amz-content-sha256", payload))
    prepared = sigv4.prepare(
        headers=sigv4.CanonicalHeaders.of(sigv4.canonical_headers(headers)),
        at=AT,
        scope=scope,
        access_key_id=ACCESS_KEY_ID,
        key=sigv4.signing_key(SECRET, AT[:8], scope),
    )
    signature = sigv4.sign(
        prepared,
        method=method,
        uri=sigv4.canonical_uri(path, normalize=not s3, double_encode=not s3),
        query=sigv4.canonical_query(query),
        payload=payload,
    )
    return signature.canonical_request, signature.string_to_sign, signature.authorization


def requests(parts):
    return st.fixed_dictionaries(
        {
            "method": methods,
            "path": paths(parts),
            "query": queries,
            "body": bodies,
            "content_type": content_types,
            "token": tokens,
            "scope": scopes,
        }
    )


@given(request=requests(SEGMENT_PARTS + RAW_PARTS))
def test_every_checkpoint_equals_botocores(request):
    try:
        path, query = forwardable(f"{request['path']}?{request['query']}", slashes_matter=False)
    except Denied:
        assume(False)
    request |= {"path": path, "query": query}
    assert by_us(**request) == by_botocore(SigV4Auth, **request)


@given(request=requests(S3_SEGMENT_PARTS))
def test_every_checkpoint_equals_botocores_for_s3(request):
    path, query = forwardable(f"{request['path']}?{request['query']}", slashes_matter=True)
    request |= {
        "path": path,
        "query": query,
        "scope": Scope("us-east-1", "s3"),
        "host": "bucket.s3.us-east-1.amazonaws.com",
    }
    assert by_us(**request, s3=True) == by_botocore(S3SigV4Auth, **request)


@each_case("path", ["/mcp", "/mcp/", "/a%2Fb", "/a%25b", f"/runtimes/{ARN}/invocations", "/a;b=c", "/a%3Bb"])
def test_the_paths_that_matter_most_equal_botocores(path):
    request = {
        "method": "POST", "path": path, "query": "qualifier=DEFAULT", "body": b"{}",
        "content_type": "application/json", "token": TOKEN, "scope": Scope("us-east-1", "bedrock-agentcore"),
    }  # fmt: skip
    assert by_us(**request) == by_botocore(SigV4Auth, **request)


@given(query=queries)
def test_the_canonical_query_has_the_same_names_and_values(query):
    def pairs(text):
        parts = (part.partition("=") for part in text.split("&") if part)
        return sorted(
            (urllib.parse.unquote_to_bytes(n), urllib.parse.unquote_to_bytes(v)) for n, _, v in parts
        )

    assert pairs(sigv4.canonical_query(query)) == pairs(query)


@each_case(
    ("path", "signed"),
    [
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a//b/", "/a/b/"),
        ("/..", "/"),
        ("/.", "/"),
    ],
)
def test_dot_segments_are_resolved_and_a_last_one_leaves_a_slash(path, signed):
    assert sigv4.canonical_uri(path) == signed
    assert sigv4.canonical_uri(path, normalize=False) == path
