"""The path and query that are signed and forwarded: one reading, or a refusal."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Denied, Reason
from extproc.signing.path import MAX_PATH_LENGTH, forwardable
from support.tables import each_case


def refused(raw, *, slashes_matter=False):
    with pytest.raises(Denied) as denied:
        forwardable(raw, slashes_matter=slashes_matter)
    return denied.value.reason


@each_case(
    ("raw", "path", "query"),
    [
        ("/", "/", ""),
        ("/mcp", "/mcp", ""),
        ("/mcp/", "/mcp/", ""),
        ("/mcp?", "/mcp", ""),
        ("/mcp?&&", "/mcp", ""),
        ("/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource/mcp", ""),
        ("/...", "/...", ""),
        ("/..a/b..", "/..a/b..", ""),
        ("/a%2Fb", "/a%2Fb", ""),
        ("/a%2fb", "/a%2Fb", ""),
        ("/prod/%61dmin/%7euser", "/prod/admin/~user", ""),
        ("/runtimes/arn%3Aaws%3Ax%2Fy/invocations", "/runtimes/arn%3Aaws%3Ax%2Fy/invocations", ""),
        ("/a;v=1/b", "/a;v=1/b", ""),
        ("/a!$&'()*+,;=:@~", "/a!$&'()*+,;=:@~", ""),
        ("/?a=1", "/", "a=1"),
        ("/?b=2&a=1&b=1", "/", "b=2&a=1&b=1"),
        ("/?a", "/", "a="),
        ("/?a=b=c", "/", "a=b%3Dc"),
        ("/?a=%2f/", "/", "a=%2F%2F"),
        ("/?a=%7E~", "/", "a=~~"),
        ("/?a=b?c", "/", "a=b%3Fc"),
        ("/?a=%2B", "/", "a=%2B"),
        ("/?a=%00", "/", "a=%00"),
        ("/?a=../..", "/", "a=..%2F.."),
        ("/?list[]=1&x={y}|z^`", "/", "list%5B%5D=1&x=%7By%7D%7Cz%5E%60"),
        ("/?X-Amz-Target=x", "/", "X-Amz-Target=x"),
        ("/?signature=x", "/", "signature=x"),
    ],
)
def test_the_path_is_kept_and_the_query_strictly_encoded_in_the_clients_order(raw, path, query):
    assert forwardable(raw, slashes_matter=False) == (path, query)


@each_case(
    "raw",
    [
        "",
        "mcp",
        "*",
        "?a=1",
        "http://example.com/",
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/a/.",
        "/../",
        "/%2e%2e/",
        "/%2E%2e",
        "/.%2e/a",
        "/a/%2e/b",
        "/a%2F..",
        "/a%2F..%2Fb",
        "/a%2f%2e%2e%2fb",
        "/..;/a",
        "/..;x=1/a",
        "/.;/a",
        "/a/..%3B/b",
        "/a/%2e%2e;/b",
        "/a/..%3b",
        "/a%5C..%5Cb",
        "/..%5Ca",
        "/a\\..\\b",
        "/a\\b",
        "//",
        "//mcp",
        "/a//b",
        "/a//",
        "/a%00b",
        "/%00",
        "/a%0D%0Ab",
        "/a%0a",
        "/a%1f",
        "/a%7F",
        "/a\x00b",
        "/a\nb",
        "/a b",
        "/a\tb",
        "/é",
        "/a\u2215b",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%2G",
        "/a%u002e",
        '/a"b',
        "/a<b>",
        "/a[0]",
        "/a{b}",
        "/a|b",
        "/a^b",
        "/a`b",
        "/a#b",
        "/?a=b+c",
        "/?a+b=c",
        "/?a=b c",
        "/?a=é",
        "/?a=%",
        "/?a=%2",
        "/?a=%xy",
        '/?a="b"',
        "/?a=<b>",
        "/?a=b\\c",
        "/?a=b#c",
        "/?a=b\n",
        "/mcp\n",
    ],
)
def test_a_path_or_query_with_several_readings_is_refused(raw):
    assert refused(raw) is Reason.REQUEST_AMBIGUOUS


def test_empty_segments_are_for_services_that_distinguish_them():
    assert forwardable("/bucket//key//", slashes_matter=True) == ("/bucket//key//", "")
    assert forwardable("/bucket/a;b/%7e!%c3%a9", slashes_matter=True) == ("/bucket/a%3Bb/~%21%C3%A9", "")
    assert refused("/bucket%2Fkey", slashes_matter=True) is Reason.REQUEST_AMBIGUOUS
    assert refused("/bucket/a%2fb", slashes_matter=True) is Reason.REQUEST_AMBIGUOUS
    assert refused("/bucket//key", slashes_matter=False) is Reason.REQUEST_AMBIGUOUS
    assert refused("/bucket//../key", slashes_matter=True) is Reason.REQUEST_AMBIGUOUS


@each_case(
    "raw",
    ["/b/a%0Ab", "/b/%00", "/b/a%7Fb%1F", "/b/%09%0D%0A", "/b/%FF%FE"],
)
def test_an_s3_key_may_hold_any_encoded_character(raw):
    assert forwardable(raw, slashes_matter=True) == (raw, "")


@each_case(
    ("raw", "slashes_matter", "named"),
    [
        ("/a b", False, "0x20"),
        ("/a\tb", True, "0x09"),
        ("/caf\xe9", True, "0xE9"),
        ('/a"b', False, '"""'),
        ("/a\\b", False, '"\\"'),
        ("/a%zz", True, "a % that two hexadecimal digits do not follow"),
        ("/a%", False, "a % that"),
        ("/a%0Ab", False, "%0A"),
        ("/a%7fb", False, "%7F"),
        ("/a//b", False, '"//"'),
        ("/a/../b", True, '".."'),
        ("/a%2Fb", True, "%2F"),
        ("/?a=b+c", False, '"+"'),
        ("/?a=<b>", False, '"<"'),
        ("/?a=b c", False, "0x20"),
        ("mcp", False, "begin with a slash"),
        ("*", False, "begin with a slash"),
        ("/" + "a" * MAX_PATH_LENGTH, False, str(MAX_PATH_LENGTH)),
    ],
)
def test_a_refusal_names_the_character(raw, slashes_matter, named):
    with pytest.raises(Denied) as denied:
        forwardable(raw, slashes_matter=slashes_matter)
    assert named in denied.value.client_text
    assert denied.value.client_text.startswith("The query " if "?" in raw else "The path ")


def test_a_signature_of_version_2_is_refused_for_s3():
    assert (
        refused("/k?AWSAccessKeyId=A&Signature=s&Expires=1", slashes_matter=True) is Reason.SIGNATURE_IN_QUERY
    )


@each_case(
    "name",
    [
        "Algorithm", "Credential", "Date", "Expires", "Signature", "SignedHeaders", "Security-Token",
        "Content-SHA256", "S3session-Token", "Region-Set",
    ],
)  # fmt: skip
@each_case(
    "spelling",
    [
        "/?X-Amz-{0}=x",
        "/?x-amz-{0}=x",
        "/?X-AMZ-{0}",
        "/?a=1&X-Amz-{0}=x",
        "/?%58-Amz-{0}=x",
        "/?%78%2dAmz%2D{0}=x",
        "/mcp?X-Amz-{0}",
    ],
)
def test_a_query_signature_is_refused_however_it_is_spelled(name, spelling):
    for written in (name, name.lower(), name.upper(), "".join(f"%{ord(letter):02x}" for letter in name)):
        assert refused(spelling.format(written)) is Reason.SIGNATURE_IN_QUERY


def test_the_length_of_path_and_query_is_bounded():
    longest = "/" + "a" * (MAX_PATH_LENGTH - 1)
    assert forwardable(longest, slashes_matter=False) == (longest, "")
    assert refused(longest + "a") is Reason.REQUEST_AMBIGUOUS
    assert refused("/?" + "a" * MAX_PATH_LENGTH) is Reason.REQUEST_AMBIGUOUS


near_misses = st.lists(
    st.sampled_from(
        [
            "/",
            "a",
            ".",
            "..",
            ";",
            "%2e",
            "%2F",
            "%5c",
            "%00",
            "%25",
            "\\",
            "?",
            "&",
            "=",
            "+",
            "~",
            "x-amz-signature",
            "é",
            "#",
        ]
    ),
    max_size=12,
).map("".join)


@given(
    raw=st.text(max_size=60) | near_misses | near_misses.map(lambda text: "/" + text),
    slashes_matter=st.booleans(),
)
def test_forwarding_twice_is_forwarding_once_and_nothing_but_denied_is_raised(raw, slashes_matter):
    try:
        path, query = forwardable(raw, slashes_matter=slashes_matter)
    except Denied:
        return
    assert unquote_to_bytes(path) == unquote_to_bytes(raw.partition("?")[0])
    assert (path + query).isascii()
    again = f"{path}?{query}" if query else path
    assert forwardable(again, slashes_matter=slashes_matter) == (path, query)
