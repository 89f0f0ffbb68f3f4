"""No copy of a request's token is in what is forwarded, in whatever header it came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Denied, Reason
from extproc.header_names import CARRIERS, ENDS_HERE
from extproc.signing.targets import Scope, Target
from extproc.values import RequestHead
from support.pipelines import Parts
from support.tables import each_case
from support.tokens import mint

TOKEN = mint()
S3 = Target(
    name="s3", host="bucket.example", scope=Scope("us-east-1", "s3"), sign_headers=frozenset({"x-own"})
)
FORMS = [TOKEN, f"Bearer {TOKEN}", f"https://a.example/?t={TOKEN}", *TOKEN.split(".")[1:]]


def admit(*headers, path="/k", authority="gateway.example", exchange_headers=(), token=TOKEN, has_body=False):
    pipeline = Parts(targets=[S3], exchange_headers=exchange_headers).pipeline
    own = (("authorization", f"Bearer {token}"),)
    return pipeline.admission.admit(RequestHead("GET", path, authority, (*own, *headers), has_body=has_body))


def refusal(*headers, **more):
    with pytest.raises(Denied) as denied:
        admit(*headers, **more)
    assert TOKEN.rpartition(".")[2] not in denied.value.detail + denied.value.client_text
    return denied.value.reason


def forwarded(admission):
    """The client's headers that go upstream, signed or not."""
    left = [value for name, value in admission.head.headers if name not in admission.removed]
    return [*left, *(value for _, value in admission.signed)]


NAMES = [
    "referer",
    "x-anything",
    "x-own",
    "x-amz-meta-a",
    "x-amz-tagging",
    "content-type",
    "accept",
    "x-request-id",
]
NAMES += ["traceparent", "user-agent", "origin-trial", "x-forwarded-host", "baggage", "mcp-session-id"]


@each_case("form", FORMS, ids=range(len(FORMS)))
@each_case("name", [*NAMES, *(name.rstrip("*") for name in CARRIERS)])
def test_a_header_with_a_copy_is_withheld_and_counted(name, form):
    admission = admit((name, form), ("accept-language", "en"))
    assert forwarded(admission) == ["en"]
    assert name in admission.removed
    assert admission.withheld == 1


@each_case("name", [*CARRIERS, *ENDS_HERE])
def test_headers_that_are_known_to_carry_tokens_are_withheld_whatever_is_in_them(name):
    admission = admit((name.replace("*", "aad-id-token"), "another"))
    assert forwarded(admission) == []
    assert admission.withheld == 1


def test_one_of_several_values_is_enough():
    admission = admit(("accept", "*/*"), ("x-a", "short"), ("x-a", FORMS[1]))
    assert forwarded(admission) == ["*/*"]


def test_the_token_for_sts_is_not_copied_either():
    for_sts = mint({"sub": "the other token", "iss": "https://idp.example", "aud": "sts.amazonaws.com"})
    admission = admit(("x-sts-token", for_sts), ("x-copy", for_sts), exchange_headers=["x-sts-token"])
    assert forwarded(admission) == []
    assert admission.withheld == 1


@each_case("name", ["x-envoy-original-path", "x-envoy-anything", "connection", "te", "host"])
def test_a_copy_in_a_header_that_envoy_keeps_refuses_the_request(name):
    assert refusal((name, FORMS[1])) is Reason.HEADER_REFUSED
    assert forwarded(admit((name, "short"))) == ["short"]


def test_a_copy_beside_aws_chunked_refuses_the_request_since_other_codings_go_on():
    assert refusal(("content-encoding", f"aws-chunked,{TOKEN}"), has_body=True) is Reason.HEADER_REFUSED
    gzipped = admit(("content-encoding", "aws-chunked,gzip"), has_body=True)
    assert gzipped.chunked.content_encoding == "gzip"


@each_case("form", [TOKEN, *TOKEN.split(".")[1:]], ids=range(3))
@each_case("path", ["/{}", "/a/{}/b", "/k?a={}", "/k?{}=a", "/k?a=b&c=%41{}"])
def test_a_copy_in_the_url_refuses_the_request(path, form):
    assert refusal(path=path.format(form)) is Reason.TOKEN_IN_URL
    escaped = "".join(f"%{ord(character):02X}" for character in form)
    assert refusal(path=path.format(escaped)) is Reason.TOKEN_IN_URL


def test_access_token_in_the_query_refuses_the_request_before_its_token_is_looked_at():
    assert refusal(path="/k?access_token=other") is Reason.TOKEN_IN_URL
    head = RequestHead("GET", "/k?access_token=other", "gateway.example", (), has_body=False)
    with pytest.raises(Denied) as denied:
        Parts().pipeline.admission.admit(head)
    assert denied.value.reason is Reason.TOKEN_IN_URL
    assert denied.value.reason.outcome.status == 400


def test_a_copy_in_the_host_refuses_the_request():
    assert refusal(authority=f"{TOKEN.rpartition('.')[2]}.example") is Reason.TOKEN_IN_URL


names = st.sampled_from([*NAMES, "x-b", "cookie", *CARRIERS[:3]]) | st.from_regex(
    r"x-[a-z]{1,8}", fullmatch=True
)
pieces = st.sampled_from([*FORMS, "a", " ", "%20", ";", "=", "/"])


@given(st.lists(st.tuples(names, st.lists(pieces, max_size=5).map("".join)), max_size=8))
def test_whatever_headers_come_no_copy_is_in_what_is_forwarded(headers):
    try:
        admission = admit(*headers)
    except Denied as denied:
        assert denied.reason in (Reason.HEADER_REFUSED, Reason.REQUEST_AMBIGUOUS)  # noqa: PT017
        return
    _, payload, signature = TOKEN.split(".")
    assert not [value for value in forwarded(admission) if payload in value or signature in value]
    kept = [value for name, value in headers if name not in admission.removed]
    assert [value for value in kept if value] == [
        value for value in forwarded(admission)[: len(kept)] if value
    ]


def test_headers_count_with_ours_and_without_those_that_are_taken_off():
    """4 pseudo-headers and 4 of ours (S3 has the hash) leave room for 92."""
    many = [(f"x-h{number}", "1") for number in range(92)]
    assert admit(*many).removed == ("authorization",)
    assert refusal(*many, ("x-one-more", "1")) is Reason.TOO_MANY_HEADERS
    assert len(admit(*many, ("x-id-token", "withheld"), ("cookie", "a=b")).removed) == 3
    assert Reason.TOO_MANY_HEADERS.outcome.status == 431


@each_case(
    ("has_body", "more", "most"),
    [
        (False, (), 92),
        (True, (("content-length", "2"),), 91),
        (True, (("transfer-encoding", "chunked"),), 91),
        (True, (), 91),
    ],
    ids=["no body", "of known length", "chunked", "of a length that neither says"],
)
def test_a_request_goes_on_with_as_many_headers_as_envoy_takes_after_ours(has_body, more, most):
    def headers(count):
        return [*more, *((f"x-h{number}", "1") for number in range(count))]

    admit(*headers(most), has_body=has_body)
    assert refusal(*headers(most + 1), has_body=has_body) is Reason.TOO_MANY_HEADERS
