"""Copies of a request's tokens: found in every spelling that proxies and clients write."""

import base64
from urllib.parse import quote

from hypothesis import assume, given
from hypothesis import strategies as st

from extproc.authn.copies import SHORTEST, TokenCopies, names_access_token
from support.tables import each_case
from support.tokens import ec_key, mint

TOKENS = {"RS256": mint(), "ES256": mint(key=ec_key())}
TOKEN = TOKENS["RS256"]
_, PAYLOAD, SIGNATURE = TOKEN.split(".")


def percent(text):
    return "".join(f"%{byte:02x}" for byte in text.encode())


SPELLINGS = {
    "as it is": lambda text: text,
    "after a scheme": lambda text: f"Bearer {text}",
    "in a list": lambda text: f"a=b; token={text}; c",
    "percent-encoded": percent,
    "twice": lambda text: quote(percent(text), safe=""),
    "three times": lambda text: quote(quote(percent(text), safe=""), safe=""),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64url without padding": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64, a byte before": lambda text: base64.b64encode(b"u" + text.encode() + b"x").decode(),
    "base64, two bytes before": lambda text: base64.b64encode(b"u:" + text.encode()).decode(),
    "base64 in a URL": lambda text: quote(base64.b64encode(b"u:" + text.encode()), safe=""),
}
PARTS = {
    "the token": lambda token: token,
    "its payload": lambda token: token.split(".")[1],
    "its signature": lambda token: token.split(".")[2],
}


@each_case("algorithm", TOKENS)
@each_case("spelling", SPELLINGS)
@each_case("part", PARTS)
def test_the_token_and_its_parts_are_found_in_every_spelling(algorithm, spelling, part):
    token = TOKENS[algorithm]
    value = SPELLINGS[spelling](PARTS[part](token))
    assert TokenCopies([token]).is_in(value)
    assert TokenCopies(["another." * 9, token]).is_in(value)
    assert not TokenCopies([mint({"sub": "somebody", "jti": "an identifier as long as it needs"})]).is_in(
        value
    )


@given(before=st.text(max_size=80), after=st.text(max_size=80), spelling=st.sampled_from(sorted(SPELLINGS)))
def test_a_copy_is_found_wherever_it_stands(before, after, spelling):
    assume("%" not in before)  # half an escape before it changes nothing about it, but is no text of its own
    assert TokenCopies([TOKEN]).is_in(before + SPELLINGS[spelling](TOKEN) + after)


@given(st.integers(0, len(SIGNATURE)), st.integers(0, len(SIGNATURE)))
def test_a_large_part_of_the_signature_is_a_copy_too(start, end):
    assume(end - start >= SHORTEST)
    assert TokenCopies([TOKEN]).is_in(SIGNATURE[start:end])


@each_case(
    "value",
    [
        "", "*/*", "Mozilla/5.0 " * 20, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "%" * 99,
        "A" * 999, TOKEN.split(".")[0] * 3, base64.b64encode(bytes(range(256))).decode(),
    ],
)  # fmt: skip
def test_other_values_are_no_copies(value):
    assert not TokenCopies([TOKEN]).is_in(value)


@each_case("token", ["", "a", "opaque-token", "..", "a.b", "a.b.c"])
def test_a_token_of_another_form_makes_no_copies_of_everything(token):
    assert not TokenCopies([token]).is_in(
        "a value of some seventy characters, which has nothing to do with it"
    )


def test_the_finder_shows_no_token():
    assert repr(TokenCopies([TOKEN])) == "TokenCopies()"


NAMED = [
    "access_token=x", "a=b&access_token=x", "access_token", "access_token=", "ACCESS_TOKEN=x", "Access_Token=x",
    "%61ccess_token=x", "access%5Ftoken=x", "%2561ccess_token=x", "%252561ccess_token=x", "a=b;access_token=x",
    "access_token%3Dx", "a=b%26access_token=x", "access_token[]=x", "access_token%5B0%5D=x", "%20access_token=x",
    "access_token%20=x", "a?access_token=x", "next=/x?access_token=y",
]  # fmt: skip


@each_case("query", NAMED)
def test_a_parameter_access_token_is_found_in_every_spelling(query):
    assert names_access_token(f"/mcp?{query}")


@each_case(
    "url",
    [
        "/", "/?", "/access_token", "/access_token=x", "/?my_access_token=x", "/?access_token_type=x",
        "/?a=access_token", "/?access=token", "/?list-type=2&prefix=access_token/",
    ],
)  # fmt: skip
def test_other_parameters_are_none(url):
    assert not names_access_token(url)
