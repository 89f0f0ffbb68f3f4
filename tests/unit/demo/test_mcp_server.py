import hashlib
import json

import httpx2
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from starlette.testclient import TestClient

from extproc.demo.mcp_server import UpstreamSettings, create_app

HOST = "aws-mcp.us-east-1.api.aws"
KEY, SECRET, TOKEN = "ASIAABCDEFGHIJKLMNOP", "s" * 40, "session-token"
ARN = "arn:aws:sts::123456789012:assumed-role/DemoAdmin/alice"


class Sts:
    """The emulator's credential endpoint."""

    def __init__(self):
        self.lookups = []
        self.status = 200

    async def __call__(self, request):
        self.lookups.append(request.url.raw_path.decode())
        if self.status != 200:
            return httpx2.Response(self.status)
        if not request.url.path.endswith(f"/{KEY}"):
            return httpx2.Response(404, json={})
        known = {
            "secret_access_key": SECRET,
            "session_token": TOKEN,
            "expiration": "2999-01-01T00:00:00Z",
            "arn": ARN,
            "session_name": "alice",
        }
        return httpx2.Response(200, json=known)


@pytest.fixture
def sts():
    return Sts()


@pytest.fixture
def upstream(sts):
    settings = UpstreamSettings(sts_url="http://sts.example", body_limit=1000)
    app = create_app(settings, transport=httpx2.MockTransport(sts))
    with TestClient(app, base_url=f"https://{HOST}") as client:
        yield client


def signed(method, path, body=b"", key=KEY, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method=method, url=f"https://{HOST}{path}", data=body, headers=names)
    SigV4Auth(Credentials(key, SECRET, TOKEN), "aws-mcp", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def send(upstream, method, path, body=b"", **headers):
    return upstream.request(method, path, content=body, headers=signed(method, path, body, **headers))


def last(upstream):
    return upstream.get("/_control/requests").json()[-1]


def test_a_signed_request_is_echoed_and_recorded(upstream):
    answer = send(upstream, "PUT", "/any/thing%2F?q=1", b"payload", x_request_id="r-7")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["method"], body["raw_path"], body["raw_query"]) == ("PUT", "/any/thing%2F", "q=1")
    assert body["body_sha256"] == hashlib.sha256(b"payload").hexdigest()
    assert body["arn"] == ARN
    assert "x-amz-date" in body["headers"]
    record = last(upstream)
    assert (record["outcome"], record["access_key_id"], record["arn"]) == ("verified", KEY, ARN)
    assert record["request_id"] == "r-7"
    assert TOKEN not in json.dumps(record)
    assert upstream.get("/_control/stats").json() == {
        "received": 1,
        "verified": 1,
        "rejected": 0,
        "bearer_seen": 0,
    }


def test_a_bearer_token_instead_of_a_signature_is_401_and_noticed(upstream):
    message = {"jsonrpc": "2.0", "id": 7, "method": "initialize"}
    answer = upstream.post("/mcp", json=message, headers={"authorization": "Bearer eyJh.eyJz.c2ln"})
    assert answer.status_code == 401
    assert answer.json()["id"] == 7
    assert answer.json()["error"]["code"] == -32001
    assert 'resource_metadata="https://aws.example/.well-known/' in answer.headers["www-authenticate"]
    assert upstream.get("/_control/stats").json()["bearer_seen"] == 1
    record = last(upstream)
    assert record["outcome"] == "IncompleteSignature"
    assert record["headers"][-1][1].startswith("Bearer sha256:") or "eyJ" not in json.dumps(record)


def test_no_credentials_at_all_is_401(upstream):
    assert upstream.get("/echo").status_code == 401
    assert last(upstream)["outcome"] == "MissingAuthenticationToken"


def test_a_changed_body_is_403(upstream):
    answer = upstream.post("/echo", content=b"b", headers=signed("POST", "/echo", b"a"))
    assert answer.status_code == 403
    assert answer.json()["error"]["data"]["code"] == "SignatureDoesNotMatch"


def test_another_host_is_refused(upstream):
    answer = upstream.get("/echo", headers={**signed("GET", "/echo"), "host": "localhost"})
    assert answer.status_code == 403


def test_an_unknown_key_id_is_403_and_stays_one_path_segment_at_the_emulator(upstream, sts):
    # The key id is the client's text; it must not walk about the emulator's control endpoints.
    assert send(upstream, "GET", "/echo", key="..%2f..?x#y").status_code == 403
    assert sts.lookups == ["/_control/credentials/..%252f..%3Fx%23y"]
    assert last(upstream)["outcome"] == "InvalidClientTokenId"


def test_an_emulator_that_fails_is_503(upstream, sts):
    sts.status = 500
    assert send(upstream, "GET", "/echo").status_code == 503
    assert last(upstream)["outcome"] == "CredentialLookupFailed"


def test_a_credential_is_asked_for_once_until_reset(upstream, sts):
    send(upstream, "GET", "/echo")
    send(upstream, "GET", "/echo")
    assert len(sts.lookups) == 1
    upstream.post("/_control/reset")
    assert upstream.get("/_control/requests").json() == []
    send(upstream, "GET", "/echo")
    assert len(sts.lookups) == 2


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_413(upstream, chunked):
    body = b"x" * 1001
    headers = signed("POST", "/echo", body)
    content = iter([body[:500], body[500:]]) if chunked else body
    assert upstream.post("/echo", content=content, headers=headers).status_code == 413
    assert last(upstream)["outcome"] == "BodyTooLarge"


def test_a_chunked_body_is_verified_as_a_whole(upstream):
    headers = signed("POST", "/echo", b"hello world")
    answer = upstream.post("/echo", content=iter([b"hello ", b"world"]), headers=headers)
    assert answer.json()["body_length"] == 11


def test_the_event_stream_sends_what_was_asked_for(upstream):
    answer = send(upstream, "GET", "/sse?n=3&delay=0")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("data: ") == 3
    assert send(upstream, "GET", "/sse?n=x").status_code == 400
    assert send(upstream, "GET", "/sse?n=-1").status_code == 400


@pytest.mark.parametrize("path", ["/%5Fcontrol/stats", "/_control", "/healthz/"])
def test_what_only_looks_like_a_control_path_is_behind_the_verifier(upstream, path):
    # The client must not decode what is given here.
    url = httpx2.URL(f"https://{HOST}").copy_with(raw_path=path.encode())
    assert upstream.get(url).status_code == 401


def test_control_is_open_and_not_recorded(upstream):
    assert upstream.get("/healthz").json() == {"status": "ok"}
    assert upstream.get("/_control/requests").json() == []
    assert upstream.get("/_control/nothing").status_code == 404


def test_a_body_limit_must_be_positive():
    with pytest.raises(ValueError, match="body_limit"):
        UpstreamSettings(sts_url="http://sts.example", body_limit=0)
