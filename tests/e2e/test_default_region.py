"""A target's default region in JSON-RPC bodies: the changed body is what is signed, sized and sent."""

import hashlib
import json

import pytest

from support.http import client

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}
FILLED = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"AWS_REGION":"eu-central-1"},"name":"x"}}'
BODY = json.dumps(CALL, separators=(",", ":")).encode()


async def post(stack, body, *, http2=False, **headers):
    async with client(token=stack.token("demo-admin"), http2=http2) as http:
        headers = {"content-type": "application/json", **headers}
        answer = await http.post(
            f"http://{stack.addresses.envoy}/regional/echo", content=body, headers=headers
        )
    assert answer.status_code == 200, answer.text
    (seen,) = stack.control("mcp", "requests")
    assert seen["outcome"] == "verified"
    return seen


async def pieces():
    yield BODY[:7]
    yield BODY[7:]


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("sized", [True, False], ids=["content-length", "unsized"])
async def test_a_call_without_a_region_arrives_with_the_default_one(stack, http2, sized):
    seen = await post(stack, BODY if sized else pieces(), http2=http2)
    assert seen["body_sha256"] == hashlib.sha256(FILLED).hexdigest()
    assert dict(seen["headers"])["content-length"] == str(len(FILLED))
    assert "transfer-encoding" not in dict(seen["headers"])


@pytest.mark.parametrize(
    "body",
    [
        BODY.replace(b'"name"', b'"_meta":{"AWS_REGION":"us-west-2"},"name"'),
        BODY.replace(b'"id":1', b'"id":1,"id":2'),
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b"not json",
    ],
)
async def test_any_other_body_arrives_as_it_was_sent(stack, body):
    seen = await post(stack, body)
    assert seen["body_sha256"] == hashlib.sha256(body).hexdigest()


async def test_an_encoded_body_is_untouched(stack):
    seen = await post(stack, BODY, **{"content-encoding": "gzip"})
    assert seen["body_sha256"] == hashlib.sha256(BODY).hexdigest()
    assert dict(seen["headers"])["content-encoding"] == "gzip"
