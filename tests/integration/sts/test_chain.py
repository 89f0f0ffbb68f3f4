"""Role chains: a second role in another account, assumed with the credentials of the first."""

import time
import urllib.parse
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from extproc.demo.sigv4_request import ReceivedRequest
from extproc.demo.sigv4_verifier import Endpoint, KnownCredential, verify
from extproc.errors import Denied, Reason
from extproc.sts.client import StsClient
from extproc.values import ChainedRole
from support.credentials import grant
from support.served import served

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FIRST = KnownCredential(
    access_key_id="ASIAFIRST",
    secret_access_key="first-secret",
    session_token="first-token",
    expiration=datetime.now(UTC) + timedelta(hours=1),
    arn="arn:aws:sts::123456789012:assumed-role/Reader/alice",
    session_name="alice",
)


def answer(action, key, secret, token):
    return f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>
    <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
    <SessionToken>{token}</SessionToken><Expiration>2026-01-02T03:19:05Z</Expiration>
    </Credentials></{action}Result></{action}Response>"""


class Sts(ThreadingHTTPServer):
    """Gives first credentials to any token, and second ones for a call that the first ones really signed."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.forms = []
        self.refuse_second = False


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        form = dict(urllib.parse.parse_qsl(body.decode()))
        self.server.forms.append(form)
        if form["Action"] == "AssumeRoleWithWebIdentity":
            assert "authorization" not in self.headers
            return self.reply(200, answer(form["Action"], "ASIAFIRST", "first-secret", "first-token"))
        if self.server.refuse_second:
            error = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
            return self.reply(403, f"<ErrorResponse>{error}</ErrorResponse>")
        host = f"127.0.0.1:{self.server.server_port}"
        request = ReceivedRequest(
            method="POST",
            raw_path=self.path.encode(),
            raw_query=b"",
            headers=tuple((k.lower().encode(), v.encode()) for k, v in self.headers.items()),
            body=body,
        )
        verify(
            request,
            endpoint=Endpoint(host=host, region="us-east-1", service="sts"),
            lookup=lambda key_id: FIRST if key_id == "ASIAFIRST" else None,
            now=datetime.now(UTC),
        )
        if form["Action"] == "GetCallerIdentity":
            result = f"<GetCallerIdentityResult><Arn>{FIRST.arn}</Arn></GetCallerIdentityResult>"
            return self.reply(200, f"<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>")
        return self.reply(200, answer("AssumeRole", "ASIASECOND", "second-secret", "second-token"))

    def reply(self, status, text):
        self.send_response(status)
        self.send_header("content-type", "text/xml")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def sts():
    with served(Sts()) as server:
        yield server


@pytest.fixture
def client(sts):
    client = StsClient(
        region="us-east-1",
        endpoint_url=f"http://127.0.0.1:{sts.server_port}",
        timeout=2,
        connections=2,
        on_date=lambda _date: None,
        clock=NOW.timestamp,
    )
    yield client
    client.close()


CHAIN = ChainedRole("arn:aws:iam::210987654321:role/Other", external_id="ext-1")


def test_the_second_hop_is_signed_with_the_first_credentials_and_gives_the_result(sts, client):
    credentials = client.assume("t.o.k", grant(chain=CHAIN, duration=3600), time.monotonic() + 5)
    assert (credentials.access_key_id, credentials.session_token) == ("ASIASECOND", "second-token")
    first, second = sts.forms
    assert first["RoleArn"] == "arn:aws:iam::123456789012:role/Reader"
    assert second["RoleArn"] == CHAIN.role_arn
    assert second["ExternalId"] == "ext-1"
    assert second["RoleSessionName"] == first["RoleSessionName"] == "alice"
    # Neither may be given again on the second hop: they come along by themselves.
    assert not {"SourceIdentity", "Tags.member.1.Key"} & second.keys()


def test_the_identity_behind_credentials_comes_of_a_call_that_they_signed(client):
    credentials = client.assume("t.o.k", grant(), time.monotonic() + 5)
    assert client.caller_arn(credentials, time.monotonic() + 5) == FIRST.arn


def test_a_refused_question_for_the_identity_is_a_denial(sts, client):
    sts.refuse_second = True
    credentials = client.assume("t.o.k", grant(), time.monotonic() + 5)
    with pytest.raises(Denied, match="403 AccessDenied"):
        client.caller_arn(credentials, time.monotonic() + 5)


def test_the_second_hop_never_asks_for_more_than_an_hour(sts, client):
    client.assume("t.o.k", grant(chain=CHAIN, duration=7200), time.monotonic() + 5)
    assert sts.forms[1]["DurationSeconds"] == "3600"


def test_session_policies_go_to_the_hop_they_belong_to(sts, client):
    chain = ChainedRole(CHAIN.role_arn, None, ("arn:aws:iam::aws:policy/ReadOnlyAccess",), '{"Version":"2"}')
    client.assume("t.o.k", grant(chain=chain, policy='{"Version":"1"}'), time.monotonic() + 5)
    assert sts.forms[0]["Policy"] == '{"Version":"1"}'
    assert "PolicyArns.member.1.arn" not in sts.forms[0]
    assert sts.forms[1]["Policy"] == '{"Version":"2"}'
    assert sts.forms[1]["PolicyArns.member.1.arn"] == "arn:aws:iam::aws:policy/ReadOnlyAccess"
    assert "ExternalId" not in sts.forms[1]


def test_a_refusal_of_the_second_hop_gives_nothing_away_of_the_first(sts, client):
    sts.refuse_second = True
    with pytest.raises(Denied) as denied:
        client.assume("t.o.k", grant(chain=CHAIN), time.monotonic() + 5)
    assert denied.value.reason is Reason.STS_ACCESS_DENIED
    assert "first" not in denied.value.detail
