"""What `extproc envoy-gateway` prints, in the real Envoy Gateway: each of its traps, and the cure.

A test that takes a cure away shows that the trap is real, and that the test of the cure can fail.
"""

import collections
import contextlib
import copy
import socket

import pytest

from extproc.demo.settings import SIGNING_HOST
from support import hostile, kube_gateway
from support.http import http2_exchange, raw

TRAILERS = [("x-trailer", "1")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    many = "- name: aws-mcp\n  max_connections: 5000\n  max_connections_per_subject: 5000\n"
    adjust = lambda text: text.replace("- name: aws-mcp\n", many)  # noqa: E731
    with kube_gateway.FileGateway(tmp_path_factory.mktemp("gateway"), adjust=adjust) as gateway:
        yield gateway


@pytest.fixture
def cured(gateway):
    gateway.control("mcp", "reset", {})
    yield gateway
    if gateway.changed:
        gateway.restore()


def ask(gateway, path="/echo", *, body=b"{}", headers=None, method="POST"):
    answer = gateway.http.request(
        method, f"http://{gateway.addresses.envoy}{path}", body=body,
        headers={"Authorization": f"Bearer {gateway.token('demo-admin')}", **(headers or {})}, redirect=False,
    )  # fmt: skip
    return answer.status


def head(token, path="/echo"):
    return [
        (":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "mcp.example"),
        ("authorization", f"Bearer {token}"), ("cookie", "session=1"),
    ]  # fmt: skip


def stats(gateway):
    return gateway.control("mcp", "stats")


NOTHING = {"received": 0, "verified": 0, "rejected": 0, "bearer_seen": 0}


def of_kind(objects, kind):
    return next(each for each in objects if each["kind"] == kind)


def processor(objects):
    return of_kind(objects, "EnvoyExtensionPolicy")["spec"]["extProc"][0]


def without(kind):
    return lambda objects: [each for each in objects if each["kind"] != kind]


def test_a_request_is_signed_for_the_target(cured):
    assert ask(cured) == 200
    assert stats(cured) == {"received": 1, "verified": 1, "rejected": 0, "bearer_seen": 0}
    (seen,) = cured.control("mcp", "requests")
    names = dict(seen["headers"])
    assert names["host"] == SIGNING_HOST
    assert not {each for each in names if each.startswith(("x-envoy-", "x-extproc"))}
    assert not {"cookie", "via", "forwarded", "x-forwarded-for"} & names.keys()


def test_extprocs_own_check_of_the_running_envoy_finds_nothing_wrong(cured):
    found = cured.checked()
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    "frames", [[TRAILERS], [b"", TRAILERS], [b"{}", TRAILERS]], ids=["bare", "empty", "body"]
)
@pytest.mark.parametrize("token", ["good", "bad"])
def test_trailers_over_http2_are_refused_or_signed(cured, frames, token):
    token = cured.token("demo-admin") if token == "good" else "eyJhbGciOiJub25lIn0.e30.c2ln"
    for _ in range(2):  # the first request warms
        status = http2_exchange(cured.addresses.envoy, [head(token), *frames])
        assert status in (200, 400, 401)
    found = stats(cured)
    assert found["rejected"] == found["bearer_seen"] == 0
    assert found["received"] == found["verified"]
    if frames == [TRAILERS]:
        assert found == NOTHING


def test_without_mode_override_trailers_leave_unsigned(cured):
    def change(objects):
        del processor(objects)["processingMode"]["allowModeOverride"]
        return objects

    cured.change(change, shows=lambda text: '"allow_mode_override": true' not in text)
    http2_exchange(cured.addresses.envoy, [head(cured.token("demo-admin")), TRAILERS])
    found = stats(cured)
    assert (found["rejected"], found["bearer_seen"]) == (1, 0)
    assert "request_trailer_mode" in cured.checked().stdout


def test_while_extproc_is_away_nothing_leaves(cured):
    cured.stop_part("extproc")
    try:
        assert ask(cured) >= 500
        assert http2_exchange(cured.addresses.envoy, [head(cured.token("demo-admin")), TRAILERS]) >= 500
        assert stats(cured) == NOTHING
    finally:
        cured.start_part("extproc")
        cured.wait_ready("extproc")


def test_with_fail_open_the_token_leaves_while_extproc_is_away(cured):
    def change(objects):
        processor(objects)["failOpen"] = True
        return objects

    cured.change(change, shows=lambda text: '"failure_mode_allow": true' in text)
    assert "failure_mode_allow" in cured.checked().stdout
    cured.stop_part("extproc")
    try:
        ask(cured)
        assert stats(cured)["bearer_seen"] == 1
    finally:
        cured.start_part("extproc")
        cured.wait_ready("extproc")


def second_route(objects):
    route = copy.deepcopy(of_kind(objects, "HTTPRoute"))
    route["metadata"]["name"] = "second"
    del route["spec"]["rules"][0]["filters"]
    route["spec"]["rules"][0]["matches"] = [{"path": {"type": "PathPrefix", "value": "/second"}}]
    return [*objects, route]


def test_a_second_route_to_the_same_backend_is_signed_or_refused_too(cured):
    cured.change(second_route, shows=lambda text: '"/second' in text)
    ask(cured, "/second/echo")
    assert (
        http2_exchange(cured.addresses.envoy, [head(cured.token("demo-admin"), "/second"), TRAILERS]) == 400
    )
    found = stats(cured)
    # Its host is not rewritten: what extproc signed is another host than what is sent, and AWS refuses it.
    assert found["bearer_seen"] == 0
    assert all(dict(each["headers"]).get("authorization", "").startswith("AWS4-") for each in cured.control("mcp", "requests"))  # fmt: skip


def test_without_the_policy_the_token_leaves(cured):
    """The admission policy refuses the deletion, and the controller withdraws the route."""
    cured.change(
        without("EnvoyExtensionPolicy"), shows=lambda text: '"allow_mode_override": true' not in text
    )
    ask(cured)
    assert stats(cured)["bearer_seen"] == 1


@pytest.mark.parametrize("target", ["route", "listener", "older"])
def test_another_policy_replaces_extprocs_and_the_token_leaves(cured, target):
    """So the admission policy refuses it, and the controller withdraws the route."""

    def change(objects):
        other = copy.deepcopy(of_kind(objects, "EnvoyExtensionPolicy"))
        other["metadata"]["name"] = "another"
        (ref,) = other["spec"]["targetRefs"]
        if target == "route":
            ref.update(kind="HTTPRoute", name="extproc")
        if target == "listener":
            ref.update(sectionName="http")
        if target == "older":
            other["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
            of_kind(objects, "EnvoyExtensionPolicy")["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        other["spec"]["extProc"][0]["processingMode"] = {}  # another filter, which looks at nothing
        return [*objects, other]

    cured.change(change, shows=lambda text: '"request_header_mode": "SKIP"' in text)
    ask(cured)
    assert stats(cured)["bearer_seen"] == 1


@pytest.mark.parametrize("size", [33_000, 1_000_000])
def test_bodies_of_more_than_a_listeners_buffer_are_signed(cured, size):
    assert ask(cured, body=b"x" * size) == 200
    assert stats(cured)["verified"] == 1


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [("/a%2Fb", "/a%2Fb"), ("/a%2fb", "/a%2Fb"), ("/arn%3Aaws%2Fx/y", "/arn%3Aaws%2Fx/y")],
)
def test_encoded_slashes_arrive(cured, sent, arrived):
    assert raw_get(cured, sent).startswith(b"HTTP/1.1 200 ")
    (seen,) = cured.control("mcp", "requests")
    assert (seen["raw_path"], seen["outcome"]) == (arrived, "verified")


@pytest.mark.parametrize("path", ["//echo", "/a//b", "\\echo", "/echo#x"])
def test_a_path_that_can_be_read_in_two_ways_is_refused(cured, path):
    assert raw_get(cured, path).startswith(b"HTTP/1.1 400 ")
    assert stats(cured) == NOTHING


@pytest.mark.parametrize(
    ("sent", "arrived"), [("/a/../b", "/b"), ("/a/./b", "/a/b"), ("/%2e%2e/b", "/b"), ("/a;/../b", "/b")]
)
def test_dot_segments_are_resolved_before_the_path_is_signed(cured, sent, arrived):
    """Envoy Gateway has no setting for that."""
    assert raw_get(cured, sent).startswith(b"HTTP/1.1 200 ")
    (seen,) = cured.control("mcp", "requests")
    assert (seen["raw_path"], seen["outcome"]) == (arrived, "verified")


def raw_get(gateway, path):
    token = gateway.token("demo-admin")
    return raw(
        gateway.addresses.envoy,
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode(),
    )


def test_without_the_traffic_policy_large_bodies_and_encoded_slashes_do_not_pass(cured):
    cured.change(without("ClientTrafficPolicy"), shows=lambda text: "UNESCAPE_AND_REDIRECT" in text)
    assert ask(cured, body=b"x" * 33_000) == 413
    assert raw_get(cured, "/a%2Fb").startswith(b"HTTP/1.1 307 ")
    assert stats(cured) == NOTHING


def test_more_than_1024_requests_at_a_time_are_served(cured):
    count, token = 1_100, cured.token("demo-admin")
    request = f"GET /sse?n=1&delay=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    host, _, port = cured.addresses.envoy.rpartition(":")
    with contextlib.ExitStack() as opened:
        streams = []
        for _ in range(count):
            link = opened.enter_context(socket.create_connection((host, int(port)), timeout=60))
            link.sendall(request)
            streams.append(link)
        found = collections.Counter(link.recv(12) for link in streams)  # all of them are open still
    assert found == {b"HTTP/1.1 200": count}
    assert stats(cured)["verified"] == count


@pytest.mark.parametrize("name", hostile.MATRIX)
def test_a_hostile_request_is_refused_or_signed(cured, name):
    request = hostile.MATRIX[name].replace("{token}", cured.token("demo-admin"))
    status = int(raw(cured.addresses.envoy, request.encode("latin-1"))[9:12])
    found = stats(cured)
    assert found["rejected"] == found["bearer_seen"] == 0
    assert found["verified"] == found["received"] == (status == 200)
    for seen in cured.control("mcp", "requests"):
        names = dict(seen["headers"])
        assert names["host"] == SIGNING_HOST
        assert not {"forwarded", "via", "te", "cookie", "proxy-authorization"} & names.keys()
        assert not {each for each in names if each.startswith("x-envoy-")}
        signed = names["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        # Documented: Envoy Gateway adds it after all filters, with the client's host.
        assert {each for each in names if each.startswith("x-forwarded-")} <= {"x-forwarded-host"}
        assert "x-forwarded-host" not in signed


@pytest.mark.parametrize("name", hostile.SIGNED)
def test_what_is_merely_unusual_is_served(cured, name):
    request = hostile.MATRIX[name].replace("{token}", cured.token("demo-admin"))
    assert raw(cured.addresses.envoy, request.encode("latin-1")).startswith(b"HTTP/1.1 200 ")
