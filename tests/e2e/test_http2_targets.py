"""Targets over TLS with ``protocol``: what Envoy speaks to them, and that signatures are right in each."""

import contextlib
import re

import pytest
import yaml

from support.certificates import Authority, dns
from support.http import client
from support.http2_server import TlsFront
from support.stacks import Stack

HOST = "aws-mcp.us-east-1.api.aws"
BODY = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


@contextlib.contextmanager
def over_tls(directory, protocol, offered, *, name=HOST):
    """A stack whose MCP server is behind TLS, for ``name``, and offers protocols there."""
    authority = Authority(directory)
    fronts = []

    def adjust(text):
        settings = yaml.safe_load(text)
        (target,) = settings["targets"]
        front = TlsFront(
            authority.issue("target", dns(name)),
            target["endpoint_url"].removeprefix("http://"),
            protocols=offered,
        )
        fronts.append(front)
        target.update(endpoint_url=f"https://127.0.0.1:{front.port}", protocol=protocol)
        return yaml.safe_dump(settings)

    def trust(text):
        changed, count = re.subn(
            r"(trusted_ca:\n\s+filename: ).*", lambda m: m[1] + str(authority.certificate), text
        )
        assert count == 1
        return changed

    with Stack(directory, adjust=adjust, adjust_envoy=trust) as stack:
        yield stack, fronts[0]
    fronts[0].close()


@pytest.mark.parametrize(
    ("protocol", "offered", "spoken"),
    [
        ("http2", ["h2"], "h2"),
        ("auto", ["h2", "http/1.1"], "h2"),
        ("auto", ["http/1.1"], "http/1.1"),
        ("http1", ["h2", "http/1.1"], "http/1.1"),
    ],
)
async def test_a_signed_request_reaches_a_target_in_the_protocol_that_is_set(
    tmp_path, protocol, offered, spoken
):
    with over_tls(tmp_path, protocol, offered) as (stack, front):
        url = f"http://{stack.addresses.envoy}/echo?n=1"
        async with client(token=stack.token("demo-admin")) as http:
            got = await http.get(url)
            posted = await http.post(url, content=BODY, headers={"content-type": "application/json"})
        assert (got.status_code, posted.status_code) == (200, 200)  # the server behind verifies signatures
        assert set(front.spoken) == {spoken}
        assert front.requests >= 1


async def test_http2_to_a_server_of_another_name_gets_no_request(tmp_path):
    with over_tls(tmp_path, "http2", ["h2"], name="other.example") as (stack, front):
        async with client(token=stack.token("demo-admin")) as http:
            answer = await http.post(f"http://{stack.addresses.envoy}/echo", content=BODY)
        assert answer.status_code == 503
        assert front.requests == 0
