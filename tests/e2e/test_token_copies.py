"""Through the real Envoy: no copy of the bearer token reaches the upstream, wherever the client put it."""

import base64
import json
from urllib.parse import quote

import pytest

from support.http import raw
from support.upstreams import stack_with

TOKEN = "{token}"
CARRIED = [
    "x-forwarded-access-token", "X-Auth-Request-Access-Token", "x-ms-token-aad-access-token",
    "x-ms-token-aad-id-token", "x-amzn-oidc-accesstoken", "x-amzn-oidc-data", "x-id-token", "x-access-token",
    "x-auth-token", "x-forwarded-authorization", "x-original-authorization", "cookie", "proxy-authorization",
    "x-anything", "x-forwarded-host", "x-forwarded-prefix", "x-request-id", "traceparent", "user-agent",
    "x-amz-meta-a", "x-amz-tagging", "content-type", "accept", "origin-trial", "via", "if-none-match",
]  # fmt: skip


@pytest.fixture(scope="module")
def shared_bucket(tmp_path_factory):
    with stack_with(
        tmp_path_factory.mktemp("bucket"), "s3", host="bucket.s3.us-east-1.amazonaws.com", prefix="/s3",
        arguments=["--s3-style"],
    ) as upstream:  # fmt: skip
        upstream.token = upstream.stack.token("demo-admin")  # each call gets a new one
        yield upstream


@pytest.fixture
def bucket(shared_bucket):
    shared_bucket.control("reset", {})
    return shared_bucket


def get(bucket, *headers, path="/s3/key"):
    token = bucket.token
    lines = [f"GET {path.replace(TOKEN, token)} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}"]
    lines += [f"{name}: {value.replace(TOKEN, token)}" for name, value in headers]
    answer = raw(
        bucket.stack.addresses.envoy, "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
    )
    return int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]


def arrived(bucket):
    """What the upstream saw of its requests, all verified and none with a part of the token in it."""
    _, payload, signature = bucket.token.split(".")
    for seen in bucket.seen:
        assert seen["outcome"] == "verified"
        assert payload not in json.dumps(seen)
        assert signature[:40] not in json.dumps(seen)
    return [dict(seen["headers"]) for seen in bucket.seen]


@pytest.mark.parametrize("name", CARRIED)
@pytest.mark.parametrize("value", [TOKEN, f"Bearer {TOKEN}", f"a={TOKEN}; b"])
def test_a_header_with_the_token_does_not_arrive_however_often_it_comes(bucket, name, value):
    for _ in range(4):  # the third head is known
        assert get(bucket, (name, value), ("Accept-Language", "en"))[0] == 200
    heads = arrived(bucket)
    assert [head["accept-language"] for head in heads] == ["en"] * 4


def test_encoded_copies_do_not_arrive_either(bucket):
    token = bucket.token
    forms = [quote(token.replace(".", "%2E"), safe=""), base64.b64encode(f"user:{token}".encode()).decode()]
    assert (
        get(bucket, *((f"x-copy-{number}", form) for number, form in enumerate(forms)), ("x-other", "o"))[0]
        == 200
    )
    (head,) = arrived(bucket)
    assert [name for name in head if name.startswith("x-copy")] == []
    assert head["x-other"] == "o"


@pytest.mark.parametrize(
    "path",
    [
        "?access_token={token}",
        "?access_token=other",
        "?a=b&%61ccess_token=x",
        "?t={token}",
        "/{token}",
        "/a%2D{token}",
    ],
)
def test_a_token_in_the_url_is_a_400_and_goes_nowhere(bucket, path):
    status, body = get(bucket, path=f"/s3/key{path}")
    assert status == 400
    assert json.loads(body)["error"] == "invalid_request"
    assert bucket.seen == []


@pytest.mark.parametrize("name", ["x-envoy-original-path", "x-envoy-anything"])
def test_a_copy_that_envoy_would_not_remove_refuses_the_request(bucket, name):
    assert get(bucket, (name, TOKEN))[0] in (200, 400)
    arrived(bucket)


def test_what_is_about_this_hop_does_not_arrive(bucket):
    names = [
        "x-envoy-retry-on",
        "x-envoy-max-retries",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-original-path",
    ]
    sent = [
        (name, "1") for name in [*names, "x-envoy-original-url", "x-envoy-force-trace", "x-envoy-ip-tags"]
    ]
    assert get(bucket, *sent, ("Trailer", "x-late"), ("Expect", "the-unexpected"))[0] == 200
    (head,) = arrived(bucket)
    assert [name for name in head if name.startswith("x-envoy") or name in ("trailer", "expect")] == []
