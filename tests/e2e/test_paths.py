"""What was signed is what went upstream, byte for byte; what could be read in two ways is a 400."""

import pytest

from support.http import raw

ARN = "arn%3Aaws%3Abedrock-agentcore%3Aus-east-1%3A123456789012%3Aruntime%2Fagent-x1"
LONG = "&".join(f"name{n}=value%20{n}" for n in range(1000))


def get(stack, target, *, token=None):
    request = b"GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n" % (
        target if isinstance(target, bytes) else target.encode(),
        (token or stack.token("demo-admin")).encode(),
    )
    return raw(stack.addresses.envoy, request)


@pytest.mark.parametrize(
    "target",
    [
        "/echo",
        "/echo/",
        "/a%2Fb",
        "/a%25b",
        "/a%252Fb",
        "/a%20b",
        "/caf%C3%A9",
        "/a;v=1,2/b:c@d!$&'()*+",
        "/...",
        "/.well-known/other",
        f"/runtimes/{ARN}/invocations?qualifier=DEFAULT",
        "/echo?b=2&a=1&b=1&a=",
        "/echo?a=%2F%2B%25%26%3D",
        "/echo?%C3%A9=%E1%88%B4",
        "/echo?x-amz-target=y",
        f"/echo?{LONG}",
    ],
    ids=lambda target: target[:40],
)
def test_a_path_with_one_reading_arrives_as_it_was_sent_and_verifies(stack, target):
    answer = get(stack, target)
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:300]
    (seen,) = stack.control("mcp", "requests")
    path, _, query = target.partition("?")
    assert (seen["raw_path"], seen["raw_query"], seen["outcome"]) == (path, query, "verified")


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ("/a%2fb", "/a%2Fb"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/%7Euser/~user/%61dmin", "/~user/~user/admin"),
        ("/runtimes/arn%3aaws%3ax%2fagent", "/runtimes/arn%3Aaws%3Ax%2Fagent"),
    ],
)
def test_a_path_arrives_in_one_spelling_so_that_rules_and_upstream_read_the_same(stack, sent, arrived):
    assert get(stack, sent).startswith(b"HTTP/1.1 200 ")
    (seen,) = stack.control("mcp", "requests")
    assert (seen["raw_path"], seen["outcome"]) == (arrived, "verified")


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ("/echo?a", "a="),
        ("/echo?a=b=c&&d", "a=b%3Dc&d="),
        ("/echo?a=%7e%2f", "a=~%2F"),
        ("/echo?list[]=1", "list%5B%5D=1"),
        ("/echo?", ""),
    ],
)
def test_a_query_arrives_in_strict_encoding_in_the_clients_order(stack, sent, arrived):
    assert get(stack, sent).startswith(b"HTTP/1.1 200 ")
    (seen,) = stack.control("mcp", "requests")
    assert (seen["raw_path"], seen["raw_query"], seen["outcome"]) == ("/echo", arrived, "verified")


@pytest.mark.parametrize(
    "target",
    [
        "/..;/echo",
        "/a/..;x=1/echo",
        "/..%3B/echo",
        "//echo",
        "/a//b",
        "/a/%2e",
        "/%2e%2e/echo",
        "/.%2E/echo",
        "/a/../echo",
        "/a/./echo",
        "/a/..",
        "/a%2F..%2Fb",
        "/a%5C..%5Cb",
        "/a\\b",
        "/a%00b",
        "/a%0d%0ab",
        "/a%",
        "/a%zz",
        "/a%u002e",
        '/a"b',
        "/a<b>",
        "/a|b",
        "/a#b",
        b"/caf\xc3\xa9",
        b"/caf\xe9",
        b"/echo?a=\xc3\xa9",
        "/echo?a=b+c",
        "/echo?a=%",
        "/echo?a=b#c",
        "/echo?" + "a" * 33_000,
        "/regional/../echo",
        "/regional//echo",
        "/regional/..;/echo",
    ],
    ids=lambda target: repr(target[:24]),
)
def test_a_path_or_query_with_two_readings_is_a_400_and_goes_nowhere(stack, target):
    assert get(stack, target).startswith(b"HTTP/1.1 400 ")
    assert stack.control("mcp", "stats")["received"] == 0


def test_a_prefix_is_stripped_once_and_the_rest_arrives_as_it_was_sent(stack):
    assert get(stack, f"/regional/regional/{ARN}?q=%2F").startswith(b"HTTP/1.1 200 ")
    (seen,) = stack.control("mcp", "requests")
    assert (seen["raw_path"], seen["raw_query"]) == (f"/regional/{ARN}", "q=%2F")


def test_a_prefix_needs_a_segment_boundary(stack):
    assert get(stack, "/regionally").startswith(b"HTTP/1.1 200 ")
    (seen,) = stack.control("mcp", "requests")
    assert seen["raw_path"] == "/regionally"
