"""Web pages: only those of an allowed origin get through, and only they can read our answers."""

import pytest

from extproc.authn.origin import Origins
from extproc.errors import Denied, Reason
from extproc.values import RequestHead
from support.tables import each_case

ALLOWED = "https://app.example"


def _head(*headers, method="POST"):
    return RequestHead(method=method, path="/mcp", authority="mcp.example", headers=headers, has_body=False)


def _origins(**options):
    return Origins(frozenset({ALLOWED}), **options)


def test_a_caller_without_an_origin_is_no_web_page():
    _origins().check(_head())
    Origins(frozenset()).check(_head())


def test_an_allowed_origin_passes():
    _origins().check(_head(("origin", ALLOWED)))


@each_case(
    "origin",
    ["https://evil.example", "null", "", "https://app.example/", "https://app.example:443", "http://app.example",
     "HTTPS://APP.EXAMPLE", "https://app.example.evil.example", "https://evil-app.example", f"{ALLOWED} ",
     f"{ALLOWED}, https://evil.example", "*"],
)  # fmt: skip
def test_any_other_origin_is_refused_and_learns_nothing(origin):
    head = _head(("origin", origin))
    with pytest.raises(Denied) as caught:
        _origins().check(head)
    assert caught.value.reason is Reason.ORIGIN_REFUSED
    assert Reason.ORIGIN_REFUSED.outcome.status == 403
    assert _origins().response_headers(head) == ()


def test_two_origins_are_refused():
    with pytest.raises(Denied):
        _origins().check(_head(("origin", ALLOWED), ("origin", ALLOWED)))


def test_by_default_no_web_page_may_call():
    with pytest.raises(Denied):
        Origins(frozenset()).check(_head(("origin", ALLOWED)))


def test_a_preflight_says_which_methods_and_headers_may_be_sent():
    reply = _origins(request_headers=frozenset({"x-id-token"})).preflight(
        _head(
            ("origin", ALLOWED),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization, Mcp-Param-Region,x-evil, mcp-a b"),
            method="OPTIONS",
        )
    )
    headers = dict(reply.headers)
    assert (reply.status, reply.body, reply.reason) == (204, b"", None)
    assert headers["access-control-allow-origin"] == ALLOWED
    assert headers["access-control-allow-methods"] == "GET, POST, DELETE"
    assert headers["vary"] == "origin"
    assert headers["access-control-allow-headers"].split(", ") == [
        "accept", "authorization", "content-type", "last-event-id", "mcp-method", "mcp-name",
        "mcp-protocol-version", "mcp-session-id", "x-id-token", "mcp-param-region",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", [("origin", ALLOWED)]),
        ("OPTIONS", [("access-control-request-method", "POST")]),
        ("POST", [("origin", ALLOWED), ("access-control-request-method", "POST")]),
    ],
)
def test_anything_else_is_no_preflight(method, headers):
    assert _origins().preflight(_head(*headers, method=method)) is None


def test_answers_to_an_allowed_origin_can_be_read_by_its_page():
    headers = dict(_origins().response_headers(_head(("origin", ALLOWED))))
    assert headers["access-control-allow-origin"] == ALLOWED
    assert headers["access-control-expose-headers"] == "mcp-session-id, www-authenticate"
    assert "access-control-allow-credentials" not in headers
    assert _origins().response_headers(None) == ()
