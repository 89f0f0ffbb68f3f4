"""Two audiences are the same resource only by the case of scheme and host, and by one slash if that is said."""

import string
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.authn.audience import Audiences, canonical_audience
from extproc.errors import Denied, Reason
from support.tables import each_case
from support.tokens import AUDIENCE, claims, make_verifier, mint, trusted_issuer

URL = "https://mcp.example.com/mcp"

SAME = [
    (URL, "HTTPS://mcp.example.com/mcp"),
    (URL, "https://MCP.Example.COM/mcp"),
    ("http://127.0.0.1:8080/a", "hTTp://127.0.0.1:8080/a"),
    ("https://[2001:db8::1]:8443/a", "https://[2001:DB8::1]:8443/a"),
    ("https://xn--bcher-kva.example", "https://XN--bcher-KVA.example"),
    ("https://h.example/a?X=Y#Z", "https://H.EXAMPLE/a?X=Y#Z"),
]

SAME_BUT_FOR_A_SLASH = [
    (URL, f"{URL}/"),
    ("https://mcp.example.com", "https://mcp.example.com/"),
    ("https://mcp.example.com:8443", "HTTPS://MCP.example.com:8443/"),
    ("https://[::1]/a/b", "https://[::1]/a/b/"),
    (f"{URL}%2f", f"{URL}%2f/"),
]

DIFFERENT = [
    # The path counts in full.
    (URL, "https://mcp.example.com/MCP"),
    (URL, "https://mcp.example.com/mcp2"),
    (URL, "https://mcp.example.com"),
    (URL, "https://mcp.example.com/mcp//"),
    (f"{URL}/", f"{URL}//"),
    (URL, "https://mcp.example.com//mcp"),
    (URL, "https://mcp.example.com/./mcp"),
    (URL, "https://mcp.example.com/a/../mcp"),
    (URL, "https://mcp.example.com/%6dcp"),
    (f"{URL}%2F", f"{URL}%2f"),
    (URL, "https://mcp.example.com/mcp%2f"),
    (URL, "https://mcp.example.com/mcp;a"),
    # And the query and the fragment.
    (URL, f"{URL}?"),
    (URL, f"{URL}?a"),
    (URL, f"{URL}#"),
    (f"{URL}?a", f"{URL}?A"),
    (f"{URL}?a", f"{URL}?a/"),
    (f"{URL}?a", f"{URL}/?a"),
    (f"{URL}#a", f"{URL}#a/"),
    # Scheme, host and port.
    (URL, "http://mcp.example.com/mcp"),
    (URL, "wss://mcp.example.com/mcp"),
    (URL, "https://mcp.example.com./mcp"),
    (URL, "https://mcp.example.com:443/mcp"),
    (URL, "https://mcp.example.com:/mcp"),
    ("https://h.example:8443/", "https://h.example:08443/"),
    ("https://h.example:8443/", "https://h.example:8444/"),
    (URL, "https://example.com/mcp"),
    (URL, "https://mcp-example.com/mcp"),
    (URL, "https://mcp.example.com.evil.example/mcp"),
    (URL, "https://mcp%2Eexample.com/mcp"),
    ("https://127.0.0.1/", "https://2130706433/"),
    ("https://[::1]/", "https://[0:0:0:0:0:0:0:1]/"),
    # User names.
    (URL, "https://evil@mcp.example.com/mcp"),
    (URL, "https://mcp.example.com@evil.example/mcp"),
    ("https://A@h.example/", "https://a@h.example/"),
    # Letters that lower-casing or case folding would make ASCII: long s, Kelvin sign, dotless and dotted I.
    (URL, "http\u017f://mcp.example.com/mcp"),
    ("https://k.example/", "https://\u212a.example/"),
    ("https://i.example/", "https://\u0130.example/"),
    ("https://b\u00fccher.example/", "https://B\u00dcCHER.example/"),
    ("https://xn--bcher-kva.example/", "https://b\u00fccher.example/"),
    ("https://h.example/\u00fc", "https://H.example/\u00fc"),
    ("https://h.example/", "https://h\uff0eexample/"),
    # What URL parsers drop, or take for something else.
    (URL, f"{URL}\n"),
    (URL, f" {URL}"),
    (URL, f"{URL} "),
    (URL, f"{URL}\0"),
    (URL, "https://mcp.exam\tple.com/mcp"),
    (URL, "https://mcp.example.com\\mcp"),
    (URL, "https:\\\\mcp.example.com/mcp"),
    (URL, "https:/mcp.example.com/mcp"),
    (URL, "https:mcp.example.com/mcp"),
    (URL, "//mcp.example.com/mcp"),
    (URL, "mcp.example.com/mcp"),
    (URL, f"<{URL}>"),
    (URL, f"{URL},{URL}"),
    ("https://H.example/a b", "https://h.example/a b"),
    ("https://[fe80::1%25eth0]/", "https://[fe80::1%25ETH0]/"),
    # No web URLs at all.
    ("api://App", "api://app"),
    ("API://app", "api://app"),
    ("api://app", "api://app/"),
    ("urn:Example:a", "urn:example:a"),
    ("1FA3C5D0-0000-0000-0000-000000000000", "1fa3c5d0-0000-0000-0000-000000000000"),
    ("client", "Client"),
    ("client", "client/"),
    ("https", "HTTPS"),
    ("https://", "HTTPS://"),
    ("https:///a", "HTTPS:///a"),
]


def _accepts(configured, asked, *, ignore_slash):
    return asked in Audiences([configured], ignore_slash=ignore_slash)


@each_case("ignore_slash", [False, True])
@each_case(("one", "other"), SAME)
def test_scheme_and_host_are_compared_without_case(one, other, ignore_slash):
    assert _accepts(one, other, ignore_slash=ignore_slash)
    assert _accepts(other, one, ignore_slash=ignore_slash)


@each_case(("one", "other"), SAME_BUT_FOR_A_SLASH)
def test_one_slash_at_the_end_makes_no_difference_only_where_that_is_said(one, other):
    for configured, asked in ((one, other), (other, one)):
        assert not _accepts(configured, asked, ignore_slash=False)
        assert _accepts(configured, asked, ignore_slash=True)


@each_case("ignore_slash", [False, True])
@each_case(("one", "other"), DIFFERENT)
def test_everything_else_is_another_resource(one, other, ignore_slash):
    assert not _accepts(one, other, ignore_slash=ignore_slash)
    assert not _accepts(other, one, ignore_slash=ignore_slash)


def test_a_path_that_ends_in_several_slashes_is_its_own_only_spelling():
    for path in ("//", "/mcp//", "/mcp///"):
        audience = f"https://mcp.example.com{path}"
        assert canonical_audience(audience, ignore_slash=True) == audience


# Everything that a URL can be made of, and much that it cannot.
_odd = st.sampled_from(
    [
        *"hHs/\\:@?#%[]. \t\n\0;&=aA0\u017f\xe9\xc9\u0130\u0131\u212a\u2215\uff0e",
        "%2f",
        "%2F",
        "//",
        "/../",
        "xn--",
    ]
)
_word = st.one_of(st.text(alphabet=string.ascii_letters + string.digits + "-._~%", max_size=6), _odd)
_url = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["http", "https", "HTTPS", "Http", "http\u017f", "api", "urn", "", "ftp"]),
        st.sampled_from(["://", ":", ":/", "//", ":\\\\", ""]),
        st.lists(_word, max_size=3).map("".join),
        st.sampled_from(["", ":443", ":80", ":8443", ":", ":0443"]),
        st.sampled_from(["", "/", "//", "/a", "/A", "/a/", "/a//", "/%61", "/a/."]),
        st.sampled_from(["", "?", "?a", "?A", "?a/", "#", "#a/"]),
        st.lists(_word, max_size=2).map("".join),
    ),
)


@st.composite
def _pairs(draw):
    """Two audiences that differ little: a case, a slash, a character."""
    one = draw(_url)
    change = draw(st.sampled_from(["case", "slash", "cut", "put", "other"]))
    at = draw(st.integers(0, len(one)))
    if change == "case":
        return one, one[:at] + one[at:].swapcase()
    if change == "slash":
        return one, f"{one}/"
    if change == "cut":
        return one, one[:at] + one[at + 1 :]
    if change == "put":
        return one, one[:at] + draw(_odd) + one[at:]
    return one, draw(_url)


def _is_ascii_url(audience):
    return audience.isascii() and audience.isprintable() and not set(audience) & set(' "<>\\^`{|}')


def _resource(audience, *, ignore_slash):
    """Canonical form of an audience by another parser; anything unusual is returned unchanged."""
    scheme, separator, rest = audience.partition("://")
    if not separator or scheme.lower() not in ("http", "https") or not _is_ascii_url(audience):
        return audience
    ends = [rest.index(sign) for sign in "/?#" if sign in rest]
    authority = rest[: min(ends, default=len(rest))]
    if not authority or "@" in authority or "%" in authority:
        return audience
    try:
        parts = urlsplit(audience)
        host = parts.hostname
    except ValueError:
        return audience
    port = authority.rpartition(":")[1:] if not authority.endswith("]") and ":" in authority else ()
    tail = rest[len(authority) :]
    if ignore_slash and not set("?#") & set(tail) and tail.endswith("/") and not tail.endswith("//"):
        tail = tail[:-1]
    return scheme.lower(), (host or "").lower(), port, tail


@given(_pairs(), st.booleans())
def test_two_different_resources_are_never_equal(pair, ignore_slash):
    one, other = pair
    if _accepts(one, other, ignore_slash=ignore_slash):
        assert _resource(one, ignore_slash=ignore_slash) == _resource(other, ignore_slash=ignore_slash)


@given(_pairs(), st.booleans())
def test_the_comparison_is_one_of_equality(pair, ignore_slash):
    one, other = pair
    canonical = canonical_audience(one, ignore_slash=ignore_slash)
    assert canonical_audience(canonical, ignore_slash=ignore_slash) == canonical
    assert _accepts(one, one, ignore_slash=ignore_slash)
    assert _accepts(one, other, ignore_slash=ignore_slash) == _accepts(other, one, ignore_slash=ignore_slash)


@given(st.text(max_size=30), st.booleans())
def test_what_is_no_web_url_is_compared_exactly(audience, ignore_slash):
    if not audience.lower().startswith(("http:", "https:")):
        assert canonical_audience(audience, ignore_slash=ignore_slash) == audience


@given(_url)
def test_a_slash_more_makes_a_difference_by_default(audience):
    assert not _accepts(audience, f"{audience}/", ignore_slash=False)


@given(_pairs())
def test_at_most_case_and_one_slash_are_given_up(pair):
    one, other = pair
    if _accepts(one, other, ignore_slash=True):
        assert one.lower().removesuffix("/") == other.lower().removesuffix("/")
        assert len(one) - len(other) in (-1, 0, 1)


async def test_a_tokens_audience_is_compared_so():
    upper = AUDIENCE.replace("mcp.example", "MCP.Example")
    assert await make_verifier().verify(mint(claims(aud=["other", upper])))
    for ignore_slash in (False, True):
        trusted = trusted_issuer(audiences=Audiences([AUDIENCE], ignore_slash=ignore_slash))
        verification = make_verifier(trusted).verify(mint(claims(aud=f"{AUDIENCE}/")))
        if ignore_slash:
            assert await verification
        else:
            with pytest.raises(Denied) as caught:
                await verification
            assert caught.value.reason is Reason.AUDIENCE_WRONG


def test_without_an_audience_none_is_accepted():
    assert "" not in Audiences(())
    assert not Audiences(())
