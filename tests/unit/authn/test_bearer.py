"""Exactly one bearer token, or the right refusal."""

import pytest

from extproc.authn.bearer import bearer_token, exchange_tokens
from extproc.errors import Denied, Reason
from extproc.values import RequestHead
from support.tables import each_case

MISSING = Reason.TOKEN_MISSING
MALFORMED = Reason.AUTHORIZATION_MALFORMED
SIGNATURE = "SignedHeaders=host;x-amz-date, Signature=0f"


def _head(*values, path="/mcp", extra=()):
    return RequestHead(
        method="POST",
        path=path,
        authority="gateway.example",
        headers=(*extra, *(("authorization", value) for value in values)),
        has_body=True,
    )


@each_case(
    ("value", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER abc", "abc"),
        ("bEaReR abc.def-_~+/", "abc.def-_~+/"),
        ("Bearer   abc", "abc"),
        (" \tBearer abc \t", "abc"),
        ("Bearer abc==", "abc=="),
        ("Bearer Bearer", "Bearer"),
        ("Bearer X", "X"),
    ],
)
def test_one_token68_value_after_the_scheme_is_the_token(value, token):
    assert bearer_token(_head(value)) == token


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param([], MISSING, id="no header"),
        pytest.param([""], MISSING, id="empty header"),
        pytest.param(["Basic YTpi"], MISSING, id="another scheme"),
        pytest.param(["AWS4-HMAC-SHA256 Credential=x"], MISSING, id="a signature"),
        pytest.param([f"AWS4-HMAC-SHA256 Credential=x, {SIGNATURE}"], MISSING, id="a whole signature"),
        pytest.param([f"aws4-hmac-sha256 Credential=x,{SIGNATURE}"], MISSING, id="in lower case"),
        pytest.param([f"AWS4-ECDSA-P256-SHA256 Credential=x, {SIGNATURE}"], MISSING, id="SigV4A"),
        pytest.param(["AWS AKIDEXAMPLE:c2lnbmF0dXJl"], MISSING, id="SigV2"),
        pytest.param(["AWS4-HMAC-SHA256"], MISSING, id="a signature's scheme only"),
        pytest.param([f"AWS4-HMAC-SHA256 {SIGNATURE}, Bearer abc"], MALFORMED, id="a signature and a token"),
        pytest.param([f"AWS4-HMAC-SHA256 {SIGNATURE},bearer"], MALFORMED, id="a signature and a scheme"),
        pytest.param([f"Bearer abc,AWS4-HMAC-SHA256 {SIGNATURE}"], MALFORMED, id="a token and a signature"),
        pytest.param(['Digest username="a", realm="b", uri="/"'], MISSING, id="commas of another scheme"),
        pytest.param(["Basic YTpi,"], MISSING, id="another scheme and a comma"),
        pytest.param(["AWSX a:b"], MISSING, id="like a signature"),
        pytest.param(["Bearerabc"], MISSING, id="no space"),
        pytest.param(["Bearer\tabc"], MISSING, id="a tab instead of the space"),
        pytest.param(["Bearer\u00a0abc"], MISSING, id="a no-break space"),
        pytest.param(["abc.def.ghi"], MISSING, id="no scheme"),
        pytest.param(["DPoP abc"], MISSING, id="DPoP"),
        pytest.param(["Bearer"], MISSING, id="scheme only"),
        pytest.param(["bearer   "], MISSING, id="scheme and spaces"),
        pytest.param(["Bearer,"], MISSING, id="scheme and a comma"),
        pytest.param(["Bearer ,"], MALFORMED, id="a comma for a token"),
        pytest.param(["Bearer, Bearer"], MALFORMED, id="two schemes"),
        pytest.param(["Bearer abc def"], MALFORMED, id="two tokens"),
        pytest.param(["Bearer abc, Bearer def"], MALFORMED, id="joined values"),
        pytest.param(["Bearer abc,"], MALFORMED, id="a comma at the end"),
        pytest.param(["Basic YTpi, Bearer abc"], MALFORMED, id="another scheme first"),
        pytest.param(["Bearer abc", "Bearer abc"], MALFORMED, id="the same twice"),
        pytest.param(["Basic YTpi", "Bearer abc"], MALFORMED, id="two headers"),
        pytest.param(["Bearer a=b"], MALFORMED, id="padding inside"),
        pytest.param(["Bearer ="], MALFORMED, id="padding only"),
        pytest.param(['Bearer "abc"'], MALFORMED, id="quoted"),
        pytest.param(["Bearer token=abc"], MALFORMED, id="a parameter"),
        pytest.param(["Bearer ab\x00c"], MALFORMED, id="NUL"),
        pytest.param(["Bearer abc\n"], MALFORMED, id="line feed"),
        pytest.param(["Bearer äbc"], MALFORMED, id="not ASCII"),
        pytest.param(["Bearer \uff41bc"], MALFORMED, id="a full-width letter"),
    ],
)
def test_anything_but_one_bearer_token_is_refused(values, reason):
    with pytest.raises(Denied) as caught:
        bearer_token(_head(*values))
    assert caught.value.reason is reason


def test_a_token_in_the_query_or_in_another_header_is_not_looked_for():
    extra = (("x-forwarded-access-token", "abc"), ("proxy-authorization", "Bearer abc"))
    with pytest.raises(Denied) as caught:
        bearer_token(_head(path="/mcp?access_token=abc", extra=extra))
    assert caught.value.reason is MISSING


def test_refusals_do_not_repeat_what_was_sent():
    for value in ("Basic s3cret", "Bearer s3cret s3cret", "Bearer s3cret, s3cret", 'Bearer "s3cret"'):
        with pytest.raises(Denied) as caught:
            bearer_token(_head(value))
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["AWS4-HMAC-SHA256 Credential=x, " + SIGNATURE, "aws A:b", "AWS4-HMAC-SHA256"]
)
def test_who_signs_by_himself_is_told_that_the_gateway_does(value):
    with pytest.raises(Denied) as caught:
        bearer_token(_head(value))
    assert "signs requests for you" in caught.value.client_text
    assert "signature of the client's own" in caught.value.detail


@pytest.mark.parametrize("value", ["AWSX a:b", "Basic YTpi", "Digest a=b, c=d"])
def test_who_uses_another_scheme_is_told_no_more_than_who_sent_nothing(value):
    with pytest.raises(Denied) as caught:
        bearer_token(_head(value))
    assert caught.value.client_text == ""


def test_of_the_headers_that_may_carry_a_token_for_sts_those_that_are_there_are_read():
    head = _head(extra=(("x-b", "abc"), ("x-c", "def")))
    assert exchange_tokens(head, ["x-a", "x-b", "x-c"]) == {"x-b": "abc", "x-c": "def"}
    for values in (["abc", "abc"], ["a,b"], ["Bearer abc"], [""]):
        with pytest.raises(Denied) as caught:
            exchange_tokens(_head(extra=[("x-a", value) for value in values]), ["x-a"])
        assert caught.value.reason is MALFORMED
