"""Which responses say that AWS no longer takes the credentials, and whose bodies have to be read for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.credentials.refusals import (
    LONGEST_BODY,
    UpstreamResponse,
    body_tells,
    error_code,
    refuses_credentials,
)

S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%b</Code><Message>m</Message></Error>'
QUERY = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>%b</Code><Message>m</Message></Error></ErrorResponse>"
)


@pytest.mark.parametrize(
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
        (
            QUERY.replace(b">m<", b">Signature expired: 2026 is now earlier than 2027<")
            % b"SignatureDoesNotMatch",
            "RequestTimeTooSkewed",
        ),
        (
            b'{"__type":"InvalidSignatureException","message":"Signature not yet current: 2026"}',
            "RequestTimeTooSkewed",
        ),
    ],
)
def test_error_codes_are_found_in_every_form_that_services_have(body, code):
    assert error_code(body) == code


@given(st.binary(max_size=2000) | st.text(max_size=500).map(str.encode))
def test_no_body_whatever_breaks_it(body):
    assert error_code(body) is None or len(error_code(body)) <= 64


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize(
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
@pytest.mark.parametrize("length", [None, 300, LONGEST_BODY])
def test_short_errors_that_name_nothing_in_their_head_are_read(status, content_type, length):
    assert body_tells(UpstreamResponse(status, content_type=content_type, content_length=length))


@pytest.mark.parametrize(
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
    ("status", "code", "refused"),
    [
        (403, "InvalidAccessKeyId", True),
        (400, "ExpiredToken", True),
        (400, "ExpiredTokenException", True),
        (401, "AuthFailure", True),
        (401, None, True),
        (401, "AccessDenied", False),
        (403, None, False),
        (400, None, False),
        (403, "AccessDenied", False),
        (403, "SignatureDoesNotMatch", False),
        (200, "ExpiredToken", False),
        (500, "ExpiredToken", False),
    ],
)
def test_only_what_new_credentials_may_cure_is_a_refusal_of_these(status, code, refused):
    assert refuses_credentials(UpstreamResponse(status), code) is refused
