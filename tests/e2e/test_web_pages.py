"""Origins, scopes and a token of its own for STS, seen through the real Envoy."""

import pytest
import yaml

from extproc.demo.ports import free_ports
from support.envoys import further_envoy
from support.http import client
from support.stacks import Stack

APP = "https://app.example"


@pytest.fixture(scope="module")
def strict_stack(tmp_path_factory):
    def strict(text):
        settings = yaml.safe_load(text)
        settings["allowed_origins"] = [APP]
        settings["issuers"][0].update(required_scopes=["mcp", "aws"], sts_token_header="x-id-token")
        return yaml.safe_dump(settings)

    with Stack(tmp_path_factory.mktemp("strict"), adjust=strict) as stack:
        yield stack


async def _send(stack, method="POST", token=None, **headers):
    async with client(token=token) as http:
        url = f"http://{stack.addresses.envoy}/echo"
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return await http.request(method, url, content=b"{}" if method == "POST" else None, headers=headers)


async def test_a_foreign_page_gets_403_before_its_token_counts(strict_stack):
    for token in (None, strict_stack.token("demo-admin", scope="mcp aws")):
        answer = await _send(strict_stack, token=token, origin="https://evil.example")
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def listed(answer, name):
    return [entry.strip().lower() for entry in answer.headers.get(name, "").split(",")]


def lets_send(answer, origin, method, headers):
    """Whether a browser goes on after this answer to its preflight (Fetch, CORS-preflight fetch)."""
    allowed = listed(answer, "access-control-allow-headers")
    return (
        200 <= answer.status_code <= 299
        and answer.headers.get_list("access-control-allow-origin") == [origin]
        and method.lower() in listed(answer, "access-control-allow-methods")
        and all(name in allowed or ("*" in allowed and name != "authorization") for name in headers)
    )


def lets_read(answer, origin, *names):
    """Whether a browser shows the answer, and these headers of it, to the page."""
    exposed = listed(answer, "access-control-expose-headers")
    return answer.headers.get_list("access-control-allow-origin") == [origin] and set(names) <= set(exposed)


def further_envoy_without_upstream(stack):
    """An Envoy before the same stack that cannot reach the target."""
    gone = free_ports(1)[0]
    port = stack.addresses.mcp.rpartition(":")[2]
    change = lambda text: text.replace(f"port_value: {port}\n", f"port_value: {gone}\n")  # noqa: E731
    return further_envoy(stack, stack.directory, change)


def own_origin(stack):
    return f"http://{stack.addresses.envoy}"


NEEDED = [
    "authorization",
    "content-type",
    "mcp-protocol-version",
    "mcp-session-id",
    "mcp-param-x",
    "last-event-id",
]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_preflight_of_an_allowed_page_is_answered(strict_stack, method):
    for origin in (APP, own_origin(strict_stack)):
        answer = await _send(
            strict_stack,
            "OPTIONS",
            origin=origin,
            access_control_request_method=method,
            access_control_request_headers=",".join(NEEDED),
        )
        assert lets_send(answer, origin, method, [*NEEDED, "x-id-token"])


async def test_a_preflight_of_a_foreign_page_is_refused(strict_stack):
    evil = "https://evil.example"
    answer = await _send(strict_stack, "OPTIONS", origin=evil, access_control_request_method="POST")
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origin", [APP, "own"])
async def test_an_allowed_page_reads_the_upstreams_answers(strict_stack, origin):
    origin = own_origin(strict_stack) if origin == "own" else origin
    token = strict_stack.token("demo-admin", scope="mcp aws")
    answer = await _send(strict_stack, token=token, x_id_token=token, origin=origin)
    assert answer.status_code == 200
    assert lets_read(answer, origin, "mcp-session-id", "www-authenticate")
    assert "access-control-allow-credentials" not in answer.headers


async def test_without_an_origin_nothing_is_said_of_any(strict_stack):
    token = strict_stack.token("demo-admin", scope="mcp aws")
    answer = await _send(strict_stack, token=token, x_id_token=token)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "near", ["https://{0}", "http://{0}.evil.example", "http://x@{0}", "http://localhost:1"]
)
async def test_an_origin_that_looks_like_the_resources_is_a_foreign_one(strict_stack, near):
    origin = near.format(strict_stack.addresses.envoy)
    answer = await _send(strict_stack, origin=origin)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


async def test_a_page_reads_what_envoy_itself_answers(strict_stack):
    token = strict_stack.token("demo-admin", scope="mcp aws")
    with further_envoy_without_upstream(strict_stack) as url:
        async with client(token=token) as http:
            answer = await http.post(
                f"{url}/mcp",
                content=b"{}",
                headers={"origin": APP, "x-id-token": token, "accept": "application/json, text/event-stream"},
            )
    assert answer.status_code == 503
    assert lets_read(answer, APP)
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["code"] == 10_503


async def test_any_page_reads_the_metadata(strict_stack):
    url = f"http://{strict_stack.addresses.envoy}/.well-known/oauth-protected-resource/mcp"
    async with client() as http:
        for origin, allowed in (("https://evil.example", "*"), (APP, APP)):
            answer = await http.get(url, headers={"origin": origin})
            assert answer.status_code == 200
            assert answer.headers.get_list("access-control-allow-origin") == [allowed]


async def test_the_resources_path_with_a_slash_at_its_end_is_the_resource(stack):
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "page", "version": "1"},
    }}  # fmt: skip
    origin = own_origin(stack)
    async with client(token=stack.token("demo-admin")) as http:
        answer = await http.post(
            f"{origin}/mcp/?a=1",
            json=message,
            headers={"origin": origin, "accept": "application/json, text/event-stream"},
        )
    assert answer.status_code == 200
    assert lets_read(answer, origin, "mcp-session-id")
    assert answer.headers["mcp-session-id"]
    seen = stack.control("mcp", "requests")
    assert [(entry["raw_path"], entry["raw_query"], entry["outcome"]) for entry in seen] == [
        ("/mcp", "a=1", "verified")
    ]


async def test_an_allowed_page_can_read_its_denial(strict_stack):
    answer = await _send(strict_stack, origin=APP)
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == APP
    assert "www-authenticate" in answer.headers["access-control-expose-headers"]
    assert 'scope="mcp aws"' in answer.headers["www-authenticate"]


async def test_a_missing_scope_is_a_403_that_names_all_of_them(strict_stack):
    answer = await _send(strict_stack, token=strict_stack.token("demo-admin", scope="mcp"))
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    challenge = answer.headers["www-authenticate"]
    assert 'scope="mcp aws"' in challenge
    assert 'error="insufficient_scope"' in challenge


async def test_the_other_token_goes_to_sts_and_never_upstream(strict_stack):
    bearer = strict_stack.token("demo-admin", scope="mcp aws")
    assert (await _send(strict_stack, token=bearer)).status_code == 401
    theirs = strict_stack.token("demo-developer")
    assert (await _send(strict_stack, token=bearer, x_id_token=theirs)).status_code == 401
    answer = await _send(strict_stack, token=bearer, x_id_token=strict_stack.token("demo-admin"))
    assert answer.status_code == 200
    assert "x-id-token" not in answer.text.lower()
    # The session belongs to both: with another token there is none.
    assert (await _send(strict_stack, token=bearer, x_id_token=theirs)).status_code == 401
