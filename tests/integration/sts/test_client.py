"""Exchanges with a real HTTP server that sends STS's answers, and broken ones."""

import asyncio
import contextlib
import datetime as dt
import ssl
import threading
import time
import urllib.parse
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from extproc.errors import Denied, Reason
from extproc.sts.breaker import CircuitBreaker
from extproc.sts.client import StsClient
from extproc.sts.exchange import StsExchange
from extproc.sts.guarded import CallLimits
from extproc.values import Grant
from support.certificates import Authority, dns
from support.credentials import opened
from support.served import served

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
GRANT = Grant(
    role_arn="arn:aws:iam::123456789012:role/Admin",
    session_name="alice@example.com",
    duration=900,
    mapping="admins",
)
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
EXPIRATION = "2026-01-02T03:19:05Z"
OWNER = opened(TOKEN).owner
GOOD = f"""\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>alice</SubjectFromWebIdentityToken>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::123456789012:assumed-role/Admin/alice@example.com</Arn>
      <AssumedRoleId>AROAEXAMPLE:alice@example.com</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIAEXAMPLE</AccessKeyId>
      <SecretAccessKey>hunter2</SecretAccessKey>
      <SessionToken>tok3n</SessionToken>
      <Expiration>{EXPIRATION}</Expiration>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>"""


def error(code, message=f"about {TOKEN} of alice"):
    return f"""\
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>
  <RequestId>00000000-0000-0000-0000-000000000000</RequestId>
</ErrorResponse>"""


class FakeSts(ThreadingHTTPServer):
    """Answers every POST with ``answer`` (status, content type, body) and keeps what it was sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = (200, "text/xml", GOOD)
        self.go_on = threading.Event()
        self.go_on.set()
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that has gone away is nothing to talk about."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.requests.append((self.path, dict(self.headers.items()), body))
        self.server.go_on.wait(10)
        status, content_type, answer = self.server.answer
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with served(FakeSts()) as server:
        yield server
        server.go_on.set()


@pytest.fixture
def sts(server):
    server.answer = (200, "text/xml", GOOD)
    server.requests.clear()
    yield server
    server.go_on.set()


@pytest.fixture(scope="module")
def shared_exchange(server):
    """One client for the tables: making one takes longer than the tests."""
    with exchange_at(server.url) as exchange:
        yield exchange


@contextlib.contextmanager
def exchange_at(url, *, timeout=2.0, deadline=5.0, workers=2, max_waiting=8, region="us-east-1"):
    exchange = StsExchange(
        sts=StsClient(
            region=region,
            endpoint_url=url,
            timeout=timeout,
            connections=workers,
            on_date=lambda _date: None,
            clock=NOW.timestamp,
            pause=lambda _seconds: None,
        ),
        breaker=CircuitBreaker(failures=10**6, open_for=1, clock=time.time),
        limits=CallLimits(deadline=deadline, workers=workers, max_waiting=max_waiting),
    )
    try:
        yield exchange
    finally:
        exchange.close()


async def denial_at(url, **options):
    with exchange_at(url, **options) as exchange:
        return await denial(exchange)


async def denial(exchange):
    with pytest.raises(Denied) as denied:
        await exchange.exchange(OWNER, TOKEN, GRANT)
    for secret in (TOKEN, "alice", "hunter2", "tok3n"):
        assert secret not in denied.value.detail
    # A traceback would quote the parser's message.
    assert denied.value.__suppress_context__ or denied.value.__context__ is None
    return denied.value


async def test_the_answer_becomes_credentials(sts):
    with exchange_at(sts.url) as exchange:
        credentials = await exchange.exchange(OWNER, TOKEN, GRANT)
    assert credentials.access_key_id == "ASIAEXAMPLE"
    assert credentials.secret_access_key == "hunter2"
    assert credentials.session_token == "tok3n"
    assert credentials.expires_at == (NOW + dt.timedelta(seconds=900)).timestamp()
    assert "hunter2" not in repr(credentials)
    assert "tok3n" not in repr(credentials)


def assert_unsigned_and_complete(request):
    path, headers, body = request
    assert path == "/"
    assert {name.lower() for name in headers}.isdisjoint(
        {"authorization", "x-amz-date", "x-amz-security-token"}
    )
    assert urllib.parse.parse_qs(body, strict_parsing=True) == {
        "Action": ["AssumeRoleWithWebIdentity"],
        "Version": ["2011-06-15"],
        "RoleArn": [GRANT.role_arn],
        "RoleSessionName": [GRANT.session_name],
        "WebIdentityToken": [TOKEN],
        "DurationSeconds": ["900"],
    }
    assert TOKEN not in str(headers)


async def test_the_request_is_unsigned_and_has_the_role_the_name_the_token_and_the_duration(sts):
    with exchange_at(sts.url) as exchange:
        await exchange.exchange(OWNER, TOKEN, GRANT)
    (request,) = sts.requests
    assert_unsigned_and_complete(request)


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"},
        {"AWS_PROFILE": "missing"},
        {"AWS_DEFAULT_PROFILE": "missing"},
        {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
        {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"},
        {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-1"},
        {"AWS_MAX_ATTEMPTS": "9", "AWS_RETRY_MODE": "adaptive"},
        {"AWS_CONFIG_FILE": "{broken}", "AWS_SHARED_CREDENTIALS_FILE": "{broken}"},
    ],
    ids=lambda environment: next(iter(environment)),
)
async def test_the_environment_changes_neither_where_nor_how_it_is_sent(
    sts, environment, monkeypatch, tmp_path
):
    broken = tmp_path / "config"
    broken.write_text("[profile\nendpoint_url = http://127.0.0.1:1\nnonsense")
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("{broken}", str(broken)))
    with exchange_at(sts.url) as exchange:
        await exchange.exchange(OWNER, TOKEN, GRANT)
    (request,) = sts.requests
    assert_unsigned_and_complete(request)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"},
    ],
    ids=str,
)
async def test_without_an_address_it_is_the_regional_endpoint(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with exchange_at(None) as exchange:
        assert exchange._sts.endpoint_url == "https://sts.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, "ExpiredTokenException", Reason.STS_TOKEN_EXPIRED),
        (400, "InvalidIdentityToken", Reason.STS_TOKEN_REFUSED),
        (403, "IDPRejectedClaim", Reason.STS_TOKEN_REFUSED),
        (400, "IDPCommunicationError", Reason.STS_PROVIDER_UNREACHABLE),
        (403, "AccessDenied", Reason.STS_ACCESS_DENIED),
        (400, "MalformedPolicyDocument", Reason.STS_MISCONFIGURED),
        (400, "ValidationError", Reason.STS_MISCONFIGURED),
        (400, "PackedPolicyTooLarge", Reason.STS_MISCONFIGURED),
        (403, "RegionDisabledException", Reason.STS_MISCONFIGURED),
        (400, "Throttling", Reason.STS_THROTTLED),
        (400, "ThrottlingException", Reason.STS_THROTTLED),
        (503, "RequestLimitExceeded", Reason.STS_THROTTLED),
        (503, "Throttling", Reason.STS_THROTTLED),
        (429, "TooManyRequests", Reason.STS_THROTTLED),
        (500, "InternalFailure", Reason.STS_UNAVAILABLE),
        (503, "ServiceUnavailable", Reason.STS_UNAVAILABLE),
        (400, "SomethingNew", Reason.STS_MISCONFIGURED),
        # What other services than AWS send.
        (400, "ExpiredToken", Reason.STS_TOKEN_EXPIRED),
        (400, "InvalidIdentityTokenException", Reason.STS_TOKEN_REFUSED),
        (403, "IDPRejectedClaimException", Reason.STS_TOKEN_REFUSED),
        (403, "AccessDeniedException", Reason.STS_ACCESS_DENIED),
        (403, "InvalidClientTokenId", Reason.STS_ACCESS_DENIED),
        (401, "Unauthorized", Reason.STS_ACCESS_DENIED),
        (404, "NoSuchEntity", Reason.STS_ACCESS_DENIED),
        (503, "STSNotInitialized", Reason.STS_UNAVAILABLE),
        (500, "InternalError", Reason.STS_UNAVAILABLE),
    ],
)
async def test_an_error_of_sts_has_its_reason_and_only_its_code_is_told(
    sts, shared_exchange, status, code, reason
):
    sts.answer = (status, "text/xml", error(code))
    denied = await denial(shared_exchange)
    assert denied.reason is reason
    assert denied.detail == f"STS answered {status} {code}"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "InvalidIdentityToken",
            "No OpenIDConnect provider found in your account for https://idp.example.com",
        ),
        ("InvalidIdentityToken", "Incorrect token audience"),
        ("InvalidIdentityTokenException", "Incorrect token audience"),
        (
            "InvalidIdentityToken",
            "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint",
        ),
        ("InvalidIdentityToken", "Missing a required claim: iat"),
        (
            "InvalidIdentityToken",
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
        ),
        ("AccessDenied", "User: x is not authorized to perform: sts:TagSession on resource: y"),
    ],
)
async def test_what_a_login_cannot_mend_is_the_operators_problem_and_no_401(
    sts, shared_exchange, code, message
):
    sts.answer = (400, "text/xml", error(code, message))
    denied = await denial(shared_exchange)
    assert (denied.reason, denied.reason.outcome.status) == (Reason.STS_MISCONFIGURED, 500)
    assert "; " in denied.detail  # and what to do


MINIOS = [
    ("Token is expired", Reason.STS_TOKEN_EXPIRED),
    ("token expired", Reason.STS_TOKEN_EXPIRED),
    ("token is expired by 10s", Reason.STS_TOKEN_EXPIRED),
    ("Token used before issued", Reason.STS_TOKEN_REFUSED),
    ("Token is not valid yet", Reason.STS_TOKEN_REFUSED),
    ("token contains an invalid number of segments", Reason.STS_TOKEN_REFUSED),
    ("crypto/rsa: verification error", Reason.STS_TOKEN_REFUSED),
    ("signature is invalid", Reason.STS_TOKEN_REFUSED),
    ("signing method PS256 is invalid", Reason.STS_TOKEN_REFUSED),
    ("No public key found for kid alice", Reason.STS_TOKEN_REFUSED),
    (
        "STS JWT Token has `azp` claim invalid, `azp` must match configured OpenID Client ID",
        Reason.STS_MISCONFIGURED,
    ),
    (
        "policy claim missing from the JWT token, credentials will not be generated",
        Reason.STS_ACCESS_DENIED,
    ),
    (
        "None of the given policies (`alice`) are defined, credentials will not be generated",
        Reason.STS_ACCESS_DENIED,
    ),
    ("Role arn:minio:iam:::role/alice does not exist", Reason.STS_ACCESS_DENIED),
    ("Session policy should not exceed 2048 characters", Reason.STS_ACCESS_DENIED),
    ("An invalid or out-of-range value was supplied for the input parameter.", Reason.STS_ACCESS_DENIED),
    ("", Reason.STS_ACCESS_DENIED),
    (
        'Get "http://idp.example/jwks": dial tcp 10.0.0.1:80: connect: connection refused',
        Reason.STS_PROVIDER_UNREACHABLE,
    ),
]


@pytest.mark.parametrize(("message", "reason"), MINIOS)
async def test_minios_one_code_for_every_refusal_is_told_apart_by_its_message(
    sts, shared_exchange, message, reason
):
    sts.answer = (400, "application/xml", error("InvalidParameterValue", message))
    denied = await denial(shared_exchange)
    assert denied.reason is reason
    assert denied.reason.outcome.status in (401, 403, 500, 503)
    assert denied.detail.startswith("STS answered 400 InvalidParameterValue")
    assert denied.code == "InvalidParameterValue"


async def test_an_error_in_s3s_form_as_ceph_sends_it_is_read_too(sts, shared_exchange):
    body = "<?xml version='1.0'?><Error><Code>{}</Code><RequestId>tx</RequestId><HostId>h</HostId></Error>"
    sts.answer = (403, "application/xml", body.format("AccessDenied"))
    denied = await denial(shared_exchange)
    assert (denied.reason, denied.detail) == (Reason.STS_ACCESS_DENIED, "STS answered 403 AccessDenied")
    sts.answer = (400, "application/xml", body.format("InvalidIdentityToken"))
    assert (await denial(shared_exchange)).reason is Reason.STS_TOKEN_REFUSED


async def test_an_answer_with_nothing_but_credentials_is_enough(sts, shared_exchange):
    credentials = GOOD[GOOD.index("<Credentials>") : GOOD.index("</Credentials>")] + "</Credentials>"
    wrapped = f"<AssumeRoleWithWebIdentityResult>{credentials}</AssumeRoleWithWebIdentityResult>"
    sts.answer = (
        200,
        "application/xml",
        f"<AssumeRoleWithWebIdentityResponse>{wrapped}</AssumeRoleWithWebIdentityResponse>",
    )
    assert (await shared_exchange.exchange(OWNER, TOKEN, GRANT)).access_key_id == "ASIAEXAMPLE"


@pytest.mark.parametrize(
    "role_arn", ["arn:minio:iam:::role/nOybJqMNzNmroqEKq5D0EUsRZw0", "arn:aws:iam:::role/a"]
)
async def test_role_arns_of_other_services_are_sent_as_they_are(sts, shared_exchange, role_arn):
    await shared_exchange.exchange(OWNER, TOKEN, replace(GRANT, role_arn=role_arn))
    ((_, _, body),) = sts.requests
    assert urllib.parse.parse_qs(body)["RoleArn"] == [role_arn]


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (400, "text/xml", ""),
        (429, "text/xml", ""),
        (500, "text/xml", ""),
        (200, "text/xml", ""),
        (200, "text/html", "<html><body>a captive portal</body></html>"),
        (403, "text/html", "<html><body>a proxy's refusal</body></html>"),
        (502, "text/html", "<html><body>Bad Gateway</body></html>"),
        (200, "text/xml", GOOD[: len(GOOD) // 2]),
        (200, "text/xml", GOOD.replace("Expiration", "Expired")),
        (200, "text/xml", GOOD.replace("SessionToken", "Token")),
        (200, "text/xml", GOOD.replace(EXPIRATION, "soon")),
        (200, "application/json", '{"Credentials": {}}'),
        (400, "text/xml", error("Expired")[:60]),
    ],
)
async def test_an_answer_that_sts_would_not_give_means_unavailable(
    sts, shared_exchange, status, content_type, body
):
    sts.answer = (status, content_type, body)
    assert (await denial(shared_exchange)).reason is Reason.STS_UNAVAILABLE


WORSE = {
    "credentials that ended in 2001": GOOD.replace(EXPIRATION, "2001-01-02T03:19:05Z"),
    "credentials for a decade": GOOD.replace(EXPIRATION, "2036-01-02T03:19:05Z"),
    "an empty session token": GOOD.replace("tok3n", ""),
    "a session token with a line feed": GOOD.replace("tok3n", "tok3n&#10;x-evil: 1"),
    "a session token that is not ASCII": GOOD.replace("tok3n", "t\u00f6k3n"),
    "an access key id with a signature in it": GOOD.replace("ASIAEXAMPLE", "ASIA, Signature=1"),
    "an access key id with a scope in it": GOOD.replace(
        "ASIAEXAMPLE", "ASIA/20150830/eu-west-1/s3/aws4_request"
    ),
    "an empty secret": GOOD.replace("hunter2", ""),
    "credentials of another session": GOOD.replace("Admin/alice@example.com", "Admin/bob@example.com"),
    "entities": '<!DOCTYPE a [<!ENTITY t "tok3n">]>' + GOOD.replace("tok3n", "&t;"),
    "more than 256 KiB": GOOD.replace("<Credentials>", "<Credentials>" + " " * 262_144),
    "a redirect": (307, ""),
}


@pytest.mark.parametrize("what", WORSE)
async def test_an_answer_that_must_not_be_used_is_not(sts, shared_exchange, what):
    answer = WORSE[what]
    sts.answer = (
        (200, "text/xml; charset=utf-8", answer) if isinstance(answer, str) else (answer[0], "text/xml", "")
    )
    denied = await denial(shared_exchange)
    assert denied.reason is Reason.STS_UNAVAILABLE
    assert "bob" not in denied.detail


async def test_over_tls_the_authority_of_the_environment_is_trusted_and_no_other(sts, tmp_path, monkeypatch):
    authority = Authority(tmp_path)
    pair = authority.issue("localhost", dns("localhost"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server = FakeSts()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with served(server):
        url = f"https://localhost:{server.server_address[1]}"
        assert (await denial_at(url)).detail == "SSLCertVerificationError"
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.certificate))
        with exchange_at(url) as exchange:
            assert (await exchange.exchange(OWNER, TOKEN, GRANT)).access_key_id == "ASIAEXAMPLE"


async def test_a_refused_connection_means_unavailable():
    with FakeSts() as closed:
        url = closed.url
    denied = await denial_at(url)
    assert (denied.reason, denied.detail) == (Reason.STS_UNAVAILABLE, "ConnectionRefusedError")


async def test_a_connection_closed_without_an_answer_means_unavailable(sts, monkeypatch):
    monkeypatch.setattr(_Handler, "do_POST", lambda _handler: None)
    assert (await denial_at(sts.url)).reason is Reason.STS_UNAVAILABLE


async def test_a_transient_error_is_tried_twice_and_a_final_one_once(sts):
    sts.answer = (500, "text/xml", error("InternalFailure"))
    await denial_at(sts.url)
    assert len(sts.requests) == 2
    sts.answer = (403, "text/xml", error("AccessDenied"))
    await denial_at(sts.url)
    assert len(sts.requests) == 3


async def test_no_answer_within_the_deadline_means_unavailable(sts):
    sts.go_on.clear()
    denied = await denial_at(sts.url, deadline=0.2)
    assert denied.reason is Reason.STS_UNAVAILABLE
    assert denied.detail in ("timed out", "no answer within 0.2 s")  # whoever notices first


async def test_no_answer_within_the_read_timeout_means_unavailable(sts):
    sts.go_on.clear()
    denied = await denial_at(sts.url, timeout=0.1, deadline=5)
    assert (denied.reason, denied.detail) == (Reason.STS_UNAVAILABLE, "timed out")


async def test_a_full_queue_means_unavailable_at_once_and_room_is_made_again(sts):
    sts.go_on.clear()
    with exchange_at(sts.url, workers=1, max_waiting=2) as exchange:
        waiting = [asyncio.create_task(exchange.exchange(OWNER, TOKEN, GRANT)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Denied) as denied:
            await asyncio.wait_for(exchange.exchange(OWNER, TOKEN, GRANT), 0.1)
        assert denied.value.reason is Reason.STS_BUSY
        assert denied.value.detail == "too many exchanges are waiting"
        sts.go_on.set()
        await asyncio.gather(*waiting)
        await exchange.exchange(OWNER, TOKEN, GRANT)
    assert len(sts.requests) == 3
