"""HTTP/2 requests with trailers: Envoy asks about a body only if one came."""

import pytest
import yaml

from support.http import http2_exchange

pytestmark = pytest.mark.parametrize("engine", ["completion_queue", "aio"])

TRAILERS = [("x-trailer", "1")]


def head(token):
    return [
        (":method", "POST"),
        (":path", "/echo"),
        (":scheme", "http"),
        (":authority", "mcp.example"),
        ("authorization", f"Bearer {token}"),
        ("cookie", "session=1"),
        ("x-amz-date", "20200101T000000Z"),
    ]


@pytest.mark.parametrize("warm", [False, True])
def test_trailers_without_a_body_go_nowhere(stack, warm):
    token = stack.token("demo-admin")
    if warm:
        assert http2_exchange(stack.addresses.envoy, [head(token), b"{}"]) == 200
        stack.control("mcp", "reset", {})
    assert http2_exchange(stack.addresses.envoy, [head(token), TRAILERS]) == 400
    assert stack.control("mcp", "stats")["received"] == 0


@pytest.mark.parametrize("token", ["x", "eyJhbGciOiJub25lIn0.e30.c2ln"])
def test_trailers_without_a_body_and_with_a_bad_token_go_nowhere(stack, token):
    assert http2_exchange(stack.addresses.envoy, [head(token), TRAILERS]) == 401
    assert stack.control("mcp", "stats")["received"] == 0


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_body_with_trailers_is_signed(stack, body):
    assert http2_exchange(stack.addresses.envoy, [head(stack.token("demo-admin")), body, TRAILERS]) == 200
    assert stack.control("mcp", "stats") == {"received": 1, "verified": 1, "rejected": 0, "bearer_seen": 0}


def test_an_envoy_that_does_not_ask_about_trailers_still_forwards_no_token(stack, another_envoy):
    """A configuration that is not ours, and that `extproc envoy --check` warns of."""
    base = another_envoy(
        lambda text: text.replace("request_trailer_mode: SEND", "request_trailer_mode: SKIP")
    )
    http2_exchange(base.removeprefix("http://"), [head(stack.token("demo-admin")), TRAILERS])
    assert stack.control("mcp", "stats")["bearer_seen"] == 0
    for seen in stack.control("mcp", "requests"):
        names = {name for name, _ in seen["headers"]}
        assert not {"authorization", "cookie", "x-amz-date", "x-amz-security-token"} & names


def without_trailers(text):
    """As Envoy Gateway configures the filter: no trailers are sent, and any mode may be asked for."""
    document = yaml.safe_load(text)
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (ours,) = [entry["typed_config"] for entry in manager["http_filters"] if "ext_proc" in entry["name"]]
    ours["processing_mode"] = {"request_body_mode": "BUFFERED", "response_header_mode": "SKIP"}
    ours["allow_mode_override"] = True
    del ours["allowed_override_modes"]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        for overrides in route.get("typed_per_filter_config", {}).values():
            overrides.get("overrides", {}).pop("processing_mode", None)
    return yaml.safe_dump(document)


def test_an_envoy_that_allows_other_modes_is_made_to_ask_about_trailers(stack, another_envoy):
    address = another_envoy(without_trailers).removeprefix("http://")
    admin, guest = head(stack.token("demo-admin")), head(stack.token("demo-guest"))
    for _ in range(2):  # the first response is looked at, the second is not
        assert http2_exchange(address, [admin, b"{}"]) == 200
        assert http2_exchange(address, [admin, b"{}", TRAILERS]) == 200
    stack.control("mcp", "reset", {})
    for _ in range(2):
        assert http2_exchange(address, [admin, TRAILERS]) == 400
        assert http2_exchange(address, [[*guest, ("content-type", "application/json")], TRAILERS]) == 403
    assert stack.control("mcp", "stats")["received"] == 0


def test_a_token_that_is_refused_cannot_hold_a_stream_open_by_a_body_that_never_ends(stack):
    assert http2_exchange(stack.addresses.envoy, [head("x"), b"never "], left_open=True) == 401
    guest = stack.token("demo-guest")
    assert http2_exchange(stack.addresses.envoy, [head(guest), b"ending"], left_open=True) == 403
