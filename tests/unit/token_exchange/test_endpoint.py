"""One token endpoint: its discovery, its requests, its answers."""

import json
import time
from urllib.parse import parse_qs

import pytest

from extproc.errors import Denied, Reason
from extproc.sts.https import HttpAnswer, HttpError
from extproc.token_exchange.client_authentication import Proof
from extproc.token_exchange.endpoint import TokenEndpoint
from extproc.token_exchange.form import RequestForm

ISSUER = "https://idp.example/realm/"
ENDPOINT = "https://idp.example/realm/token"


def answer(body, status=200):
    return HttpAnswer(status, (), body if isinstance(body, bytes) else json.dumps(body).encode())


class Host:
    """A provider: answers of its token endpoint and its metadata, or an error."""

    def __init__(self):
        self.metadata = answer({"issuer": ISSUER, "token_endpoint": ENDPOINT})
        self.answers = [answer({"access_token": "n.e.w"})]
        self.asked = []
        self.connected = []
        self.closed = 0

    def connect(self, url):
        self.connected.append(url)
        return self

    def get(self, target, _headers, *, until):
        self.asked.append(target)
        return self._answer(self.metadata, until)

    def post(self, target, headers, body, *, until):
        self.asked.append((target, headers, parse_qs(body.decode())))
        return self._answer(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], until)

    def close(self):
        self.closed += 1

    @staticmethod
    def _answer(found, until):
        assert until > time.monotonic()
        if isinstance(found, Exception):
            raise found
        return found


class Secret:
    def __init__(self):
        self.proofs = 0

    def proof(self, token_endpoint):
        self.proofs += 1
        return Proof({"authorization": "Basic canary"}, {"for": token_endpoint, "jti": str(self.proofs)})


@pytest.fixture
def host():
    return Host()


def endpoint(host, *, url=ENDPOINT, allow_http=False):
    return TokenEndpoint(
        issuer=ISSUER,
        url=url,
        allow_http=allow_http,
        form=RequestForm("jwt-bearer"),
        authentication=Secret(),
        connect=host.connect,
        timeout=2.0,
        pause=lambda _seconds: None,
    )


def exchange(host, *, within=5.0, **options):
    return endpoint(host, **options).exchange("u.s.r", time.monotonic() + within)


def denial(host, **options):
    with pytest.raises(Denied) as caught:
        exchange(host, **options)
    return caught.value


def test_a_token_comes_back_from_the_configured_endpoint(host):
    assert exchange(host) == "n.e.w"
    ((target, headers, form),) = host.asked
    assert target == "/realm/token"
    assert headers["authorization"] == "Basic canary"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert form["assertion"] == ["u.s.r"]
    assert form["for"] == [ENDPOINT]


def test_the_endpoint_comes_from_the_metadata_once(host):
    found = endpoint(host, url=None)
    for _ in range(2):
        found.exchange("u.s.r", time.monotonic() + 5)
    assert [asked if isinstance(asked, str) else asked[0] for asked in host.asked] == [
        "/realm/.well-known/openid-configuration",
        "/realm/token",
        "/realm/token",
    ]
    assert host.connected == ["https://idp.example/realm/.well-known/openid-configuration", ENDPOINT]
    assert found.find(time.monotonic() + 5) == ENDPOINT
    found.close()
    assert host.closed == 2
    endpoint(host).close()
    assert host.closed == 2


def test_after_a_failure_the_metadata_is_read_again(host):
    found = endpoint(host, url=None)
    host.answers = [HttpError("timed out")] * 2 + [answer({"access_token": "n.e.w"})]
    with pytest.raises(Denied, match="timed out"):
        found.exchange("u.s.r", time.monotonic() + 5)
    assert found.exchange("u.s.r", time.monotonic() + 5) == "n.e.w"
    assert host.asked.count("/realm/.well-known/openid-configuration") == 2


def test_metadata_that_is_old_is_read_again_and_the_connections_stay(host, monkeypatch):
    found = endpoint(host, url=None)
    found.find(time.monotonic() + 5)
    monkeypatch.setattr("extproc.token_exchange.endpoint._DISCOVERED_FOR", 0.0)
    found._found = (*found._found[:2], 0.0)
    found.find(time.monotonic() + 5)
    assert host.connected.count(ENDPOINT) == 1


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (HttpError("timed out"), Reason.TOKEN_EXCHANGE_UNAVAILABLE),
        (answer({}, 503), Reason.TOKEN_EXCHANGE_UNAVAILABLE),
        (answer(b"<html>"), Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (answer({"issuer": ISSUER}), Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (answer({"issuer": "https://evil.example", "token_endpoint": ENDPOINT}), Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        *(
            (answer({"issuer": ISSUER, "token_endpoint": url}), Reason.TOKEN_EXCHANGE_MISCONFIGURED)
            for url in (
                "http://idp.example/token", "token", "https://u:p@idp.example/token", "https://[x/token",
                "https://idp.example/token?a=b", "https://idp.example/to ken", "https://idp.example/t\u00f6ken",
                "https://idp.example/token\n", "https://", "file:///etc/passwd", "https://idp.example:x/token",
            )
        ),
    ],
)  # fmt: skip
def test_metadata_without_a_safe_endpoint_is_refused(host, metadata, reason):
    host.metadata = metadata
    assert denial(host, url=None).reason is reason
    assert not any(isinstance(asked, tuple) for asked in host.asked)


@pytest.mark.parametrize(
    ("url", "allow_http"), [("http://127.0.0.1:8080/token", False), ("http://idp.example/token", True)]
)
def test_clear_text_needs_loopback_or_leave(host, url, allow_http):
    host.metadata = answer({"issuer": ISSUER, "token_endpoint": url})
    assert exchange(host, url=None, allow_http=allow_http) == "n.e.w"


def test_a_broken_connection_is_tried_once_more(host):
    host.answers = [HttpError("RemoteDisconnected"), answer({"access_token": "n.e.w"})]
    assert exchange(host) == "n.e.w"
    host.answers = [HttpError("RemoteDisconnected")]
    assert denial(host).reason is Reason.TOKEN_EXCHANGE_UNAVAILABLE


def test_a_second_attempt_proves_the_client_anew(host):
    host.answers = [HttpError("timed out"), answer({"access_token": "n.e.w"})]
    assert exchange(host) == "n.e.w"
    assert [form["jti"] for _, _, form in host.asked] == [["1"], ["2"]]  # the first may have been read


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("86400", 300),
        ("0", None),
        ("-1", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("9" * 5000, None),
    ],
)
def test_a_provider_says_when_to_try_again(host, value, seconds):
    host.answers = [HttpAnswer(429, (("Retry-After", value),), b"")]
    denied = denial(host)
    assert (denied.reason, denied.retry_after) == (Reason.TOKEN_EXCHANGE_UNAVAILABLE, seconds)


def test_there_is_no_second_attempt_after_the_deadline(host):
    host.answers = [HttpError("timed out")]
    assert denial(host, within=0.01).reason is Reason.TOKEN_EXCHANGE_UNAVAILABLE
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (answer(b"<html>login</html>"), Reason.TOKEN_EXCHANGE_UNAVAILABLE),
        (answer(b"[]"), Reason.TOKEN_EXCHANGE_UNAVAILABLE),
        (answer(b'{"access_token": "n.e.w", "access_token": "o.l.d"}'), Reason.TOKEN_EXCHANGE_UNAVAILABLE),
        (answer(b'{"access_token": "n.e.w", "expires_in": NaN}'), Reason.TOKEN_EXCHANGE_UNAVAILABLE),
        (answer(b'{"a":' * 5000 + b"1" + b"}" * 5000), Reason.TOKEN_EXCHANGE_UNAVAILABLE),
        *(
            (answer({"access_token": token}), Reason.TOKEN_EXCHANGE_MISCONFIGURED)
            for token in ("", 7, None, "x" * 20_001, "t\u00f6ken")
        ),
        (answer({"id_token": "i.d.t"}), Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (answer({"error": "invalid_client"}, 401), Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (answer({"access_token": "n.e.w"}, 201), Reason.TOKEN_EXCHANGE_MISCONFIGURED),
    ],
)
def test_an_answer_without_a_token_is_a_denial(host, found, reason):
    host.answers = [found]
    assert denial(host).reason is reason
