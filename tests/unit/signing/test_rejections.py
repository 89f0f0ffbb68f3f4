"""Which responses are rejections of a signature or its credentials, and whose bodies must be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.signing.rejections import (
    LONGEST_BODY,
    Cause,
    Rejection,
    UpstreamResponse,
    body_tells,
    error_code,
    rejection,
)
from extproc.telemetry.state import ANSWERS
from support.tables import each_case

S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%b</Code><Message>m</Message></Error>'
QUERY = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>%b</Code><Message>m</Message></Error></ErrorResponse>"
)


@each_case(
    ("body", "code"),
    [
        (S3 % b"ExpiredToken", "ExpiredToken"),
        (S3 % b"InvalidAccessKeyId", "InvalidAccessKeyId"),
        (S3 % b"\n  RequestTimeTooSkewed ", "RequestTimeTooSkewed"),
        (QUERY % b"InvalidClientTokenId", "InvalidClientTokenId"),
        (
            b"<Response><Errors><Error><Code>RequestExpired</Code></Error></Errors></Response>",
            "RequestExpired",
        ),
        (b'{"__type":"com.amazon.coral.service#ExpiredTokenException","m":1}', "ExpiredTokenException"),
        (b' {"__type": "UnrecognizedClientException"}', "UnrecognizedClientException"),
        (b'{"__type": "a#ExpiredTokenException:http://x/"}', "ExpiredTokenException"),
        (b'{"code": "ExpiredToken"}', "ExpiredToken"),
        (b'{"Error": {"Code": "ExpiredToken"}}', "ExpiredToken"),
        (b'{"error": {"code": -32000, "message": "x"}}', None),
        (b'{"message": "Forbidden"}', None),
        (b"[1]", None),
        (b'"ExpiredToken"', None),
        (b"{" * 9000, None),
        (b'{"a":' * 3000, None),
        (b"ExpiredToken", None),
        (b"<Code></Code>", None),
        (b"<Code>a b</Code>", None),
        (b"<Code>" + b"a" * 65 + b"</Code>", None),
        (b" " * LONGEST_BODY + S3 % b"ExpiredToken", None),
        (b"\xff\xfe{}", None),
        (b"", None),
        (S3 % b"SignatureDoesNotMatch", "SignatureDoesNotMatch"),
    ],
)
def test_error_codes_are_found_in_every_form_that_services_have(body, code):
    assert error_code(body) == code


@given(st.binary(max_size=2000) | st.text(max_size=500).map(str.encode))
def test_no_body_raises_an_error(body):
    assert error_code(body) is None or len(error_code(body)) <= 64


@each_case("status", [400, 403])
@each_case(
    "content_type",
    [
        "application/xml",
        "text/xml",
        "application/json",
        "application/x-amz-json-1.0",
        "application/x-amz-json-1.1",
        "application/problem+json",
        "",
    ],
)
@each_case("length", [None, 300, LONGEST_BODY])
def test_short_errors_without_a_code_in_their_head_are_read(status, content_type, length):
    assert body_tells(UpstreamResponse(status, content_type=content_type, content_length=length))


@each_case(
    "response",
    [
        UpstreamResponse(200, content_type="application/xml", content_length=300),
        UpstreamResponse(404, content_type="application/xml", content_length=300),
        UpstreamResponse(503, content_type="application/xml", content_length=300),
        UpstreamResponse(0, content_type="application/xml", content_length=300),
        UpstreamResponse(403, "AccessDeniedException", content_type="application/json", content_length=300),
        UpstreamResponse(403, content_type="text/event-stream"),
        UpstreamResponse(403, content_type="text/html", content_length=300),
        UpstreamResponse(403, content_type="application/octet-stream", content_length=300),
        UpstreamResponse(403, content_type="application/xml", content_length=LONGEST_BODY + 1),
        UpstreamResponse(403, content_type="application/xml", content_length=300, encoded=True),
        UpstreamResponse(403, content_type="application/xml", content_length=300, has_body=False),
    ],
    ids=str,
)
def test_no_other_response_is_read(response):
    assert not body_tells(response)


@pytest.mark.parametrize(
    "code", ["SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature"]
)
def test_signature_errors_that_the_head_names_are_read_for_their_cause(code):
    assert body_tells(UpstreamResponse(403, code, content_type="application/json", content_length=300))


@each_case(
    ("status", "code", "cause"),
    [
        (403, "InvalidAccessKeyId", Cause.CREDENTIALS),
        (400, "ExpiredToken", Cause.CREDENTIALS),
        (400, "ExpiredTokenException", Cause.CREDENTIALS),
        (401, "AuthFailure", Cause.CREDENTIALS),
        (401, None, Cause.CREDENTIALS),
        (403, "RequestTimeTooSkewed", Cause.CLOCK),
        (400, "RequestExpired", Cause.CLOCK),
        (403, "SignatureDoesNotMatch", Cause.SIGNATURE),
        (400, "InvalidSignatureException", Cause.SIGNATURE),
        (400, "AuthorizationHeaderMalformed", Cause.SIGNATURE),
        (400, "IncompleteSignature", Cause.MISSING),
        (403, "IncompleteSignatureException", Cause.MISSING),
        (403, "MissingAuthenticationTokenException", Cause.MISSING),
        (400, "XAmzContentSHA256Mismatch", Cause.BODY),
        (401, "AccessDenied", None),
        (403, None, None),
        (400, None, None),
        (403, "AccessDenied", None),
        (200, "ExpiredToken", None),
        (200, "SignatureDoesNotMatch", None),
        (404, "SignatureDoesNotMatch", None),
        (500, "ExpiredToken", None),
    ],
)
def test_the_code_in_the_head_gives_the_cause(status, code, cause):
    expected = Rejection(cause, code or "") if cause else None
    assert rejection(UpstreamResponse(status, code)) == expected


REGION = "Credential should be scoped to a valid region, not 'us-west-2'. "
CLOCKS = ["Signature expired: 2026 is now earlier than 2027", "Signature not yet current: 2026"]
MISMATCH = "The request signature we calculated does not match the signature you provided. Check your key"


@each_case(
    ("head", "body", "cause", "code"),
    [
        (None, S3 % b"SignatureDoesNotMatch", Cause.SIGNATURE, "SignatureDoesNotMatch"),
        (None, QUERY.replace(b">m<", f">{CLOCKS[0]}<".encode()) % b"SignatureDoesNotMatch", Cause.CLOCK, "RequestTimeTooSkewed"),
        (None, b'{"__type":"InvalidSignatureException","message":"%b"}' % CLOCKS[1].encode(), Cause.CLOCK, "RequestTimeTooSkewed"),
        ("InvalidSignatureException", b'{"message":"%b"}' % CLOCKS[1].encode(), Cause.CLOCK, "RequestTimeTooSkewed"),
        ("InvalidSignatureException", b'{"message":"%b"}' % REGION.encode(), Cause.REGION, "InvalidSignatureException"),
        (None, b'{"__type":"x#InvalidSignatureException","message":"%b"}' % REGION.encode(), Cause.REGION, "InvalidSignatureException"),
        (None, QUERY.replace(b">m<", f">{REGION}<".encode()) % b"SignatureDoesNotMatch", Cause.REGION, "SignatureDoesNotMatch"),
        (
            None,
            S3.replace(b">m<", b">The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'x'<")
            % b"AuthorizationHeaderMalformed",
            Cause.REGION,
            "AuthorizationHeaderMalformed",
        ),
        (
            "InvalidSignatureException",
            b'{"message":"Credential should be scoped to correct service: \'execute-api\'. "}',
            Cause.SERVICE,
            "InvalidSignatureException",
        ),
        (None, b'{"message":"%b"}' % REGION.encode(), Cause.REGION, ""),
        (None, b'{"message":"%b"}' % MISMATCH.encode(), Cause.SIGNATURE, ""),
    ],
)  # fmt: skip
def test_the_body_gives_the_cause_more_exactly(head, body, cause, code):
    assert rejection(UpstreamResponse(403, head), body) == Rejection(cause, code)


@pytest.mark.parametrize("code", ["AccessDenied", "ValidationException"])
def test_another_error_that_quotes_such_a_message_is_no_rejection(code):
    body = b'{"__type":"%b","message":"%b"}' % (code.encode(), REGION.encode())
    assert rejection(UpstreamResponse(400), body) is None


@given(
    st.integers(0, 999),
    st.none() | st.text(max_size=40),
    st.binary(max_size=2000) | st.text(max_size=500).map(str.encode),
)
def test_no_response_raises_and_only_known_causes_and_codes_are_returned(status, head, body):
    found = rejection(UpstreamResponse(status, head), body)
    assert found is None or len(found.code) <= 64


def test_metrics_have_a_label_for_every_cause():
    assert ("none", *(cause.value for cause in Cause), "not_shown") == ANSWERS
