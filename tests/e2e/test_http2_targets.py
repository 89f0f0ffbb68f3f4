"""Targets over TLS with ``protocol``: what Envoy speaks to them, and that signatures are right in each."""

import re

import pytest
import yaml

from support.certificates import Authority, dns
from support.http import client
from support.http2_server import TlsFront
from support.stacks import Stack

HOST = "aws-mcp.us-east-1.api.aws"
BODY = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


# name: what is set, what the server offers, what is spoken
TARGETS = {
    "http2": ("http2", ["h2"], "h2"),
    "auto": ("auto", ["h2", "http/1.1"], "h2"),
    "auto-old": ("auto", ["http/1.1"], "http/1.1"),
    "http1": ("http1", ["h2", "http/1.1"], "http/1.1"),
}


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory):
    """A stack whose MCP server is behind TLS at each of the targets, and once under another name."""
    directory = tmp_path_factory.mktemp("stack")
    authority = Authority(directory)
    fronts = {}

    def adjust(text):
        settings = yaml.safe_load(text)
        (target,) = settings["targets"]
        behind = target["endpoint_url"].removeprefix("http://")

        def at(name, protocol, offered, host=HOST):
            front = fronts[name] = TlsFront(authority.issue(name, dns(host)), behind, protocols=offered)
            url = f"https://127.0.0.1:{front.port}"
            return {**target, "name": name, "prefix": f"/{name}", "endpoint_url": url, "protocol": protocol}

        settings["targets"] = [at(name, *TARGETS[name][:2]) for name in TARGETS]
        settings["targets"].append(at("other", "http2", ["h2"], "other.example"))
        return yaml.safe_dump(settings)

    def trust(text):
        changed, count = re.subn(
            r"(trusted_ca:\n\s+filename: ).*", lambda m: m[1] + str(authority.certificate), text
        )
        assert count == len(fronts)
        return changed

    with Stack(directory, adjust=adjust, adjust_envoy=trust) as stack:
        yield stack, fronts
    for front in fronts.values():
        front.close()


@pytest.mark.parametrize("name", TARGETS)
async def test_a_signed_request_reaches_a_target_in_the_protocol_that_is_set(over_tls, name):
    stack, fronts = over_tls
    url = f"http://{stack.addresses.envoy}/{name}/echo?n=1"
    async with client(token=stack.token("demo-admin")) as http:
        got = await http.get(url)
        posted = await http.post(url, content=BODY, headers={"content-type": "application/json"})
    assert (got.status_code, posted.status_code) == (200, 200)  # the server behind verifies signatures
    assert set(fronts[name].spoken) == {TARGETS[name][2]}
    assert fronts[name].requests >= 1


async def test_http2_to_a_server_of_another_name_gets_no_request(over_tls):
    stack, fronts = over_tls
    async with client(token=stack.token("demo-admin")) as http:
        answer = await http.post(f"http://{stack.addresses.envoy}/other/echo", content=BODY)
    assert answer.status_code == 503
    assert fronts["other"].requests == 0
