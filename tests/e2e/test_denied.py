"""What is not signed goes nowhere: the upstream sees nothing, the client a clear answer."""

import asyncio
import contextlib
import signal

import httpx2
import pytest

from support.http import client, raw
from support.stacks import Stack


def nothing_arrived(stack):
    return stack.control("mcp", "stats")["received"] == 0


async def post(stack, token, *, base=None, content=b"{}"):
    async with client(token=token) as http:
        return await http.post(f"{base or 'http://' + stack.addresses.envoy}/echo", content=content)


async def test_no_token_is_a_challenge_that_leads_to_the_identity_provider(stack):
    answer = await post(stack, None)
    assert answer.status_code == 401
    metadata_url = answer.headers["www-authenticate"].split('resource_metadata="')[1].rstrip('"')
    async with client() as http:
        metadata = (await http.get(metadata_url)).json()
    assert metadata["resource"] == stack.addresses.resource
    assert metadata["authorization_servers"] == [stack.addresses.issuer]
    assert nothing_arrived(stack)


@pytest.mark.parametrize(
    ("account", "parameters", "status", "error"),
    [
        ("demo-guest", {}, 403, "access_denied"),
        ("demo-admin", {"lifetime": "-300"}, 401, "invalid_token"),
        ("demo-admin", {"audience": "https://other.example"}, 401, "invalid_token"),
    ],
    ids=["no-role", "expired", "wrong-audience"],
)
async def test_tokens_that_give_no_role_here_are_refused(stack, account, parameters, status, error):
    answer = await post(stack, stack.token(account, **parameters))
    assert answer.status_code == status
    assert answer.json()["error"] == error
    assert answer.json()["request_id"]
    assert nothing_arrived(stack)


async def test_an_ec_signed_token_is_as_good_as_an_rsa_one(stack):
    assert (await post(stack, stack.token("demo-admin", alg="ES256"))).status_code == 200


async def test_a_token_with_a_changed_signature_is_refused(stack):
    token = stack.token("demo-admin")
    head, payload, signature = token.split(".")
    flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    answer = await post(stack, f"{head}.{payload}.{flipped}")
    assert answer.status_code == 401
    assert nothing_arrived(stack)


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ({"mode": "throttle"}, 503, "temporarily_unavailable"),
        ({"mode": "fail"}, 503, "temporarily_unavailable"),
        ({"mode": "malformed"}, 503, "temporarily_unavailable"),
        ({"mode": "empty4xx"}, 503, "temporarily_unavailable"),
        ({"mode": "html200"}, 503, "temporarily_unavailable"),
        ({"mode": "idp_unreachable"}, 503, "temporarily_unavailable"),
        ({"mode": "slow", "delay": 8}, 503, "temporarily_unavailable"),
        ({"mode": "access_denied"}, 403, "access_denied"),
        ({"mode": "expired"}, 401, "invalid_token"),
        ({"mode": "malformed_policy"}, 500, "server_error"),
        ({"mode": "region_disabled"}, 500, "server_error"),
    ],
    ids=lambda value: value.get("mode") if isinstance(value, dict) else None,
)
async def test_faults_of_sts_are_told_apart_and_let_nothing_through(stack, fault, status, error):
    stack.control("sts", "faults", fault)
    answer = await post(stack, stack.token("demo-admin"))
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert nothing_arrived(stack)
    stack.control("sts", "faults", {"mode": None})
    assert (await post(stack, stack.token("demo-admin"))).status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        "POST /echo HTTP/1.1\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n",
        "POST /echo HTTP/1.1\r\nAuthorization: Bearer {token}, Bearer {token}\r\n",
        "POST /echo HTTP/1.1\r\nAuthorization: Bearer {token} x\r\n",
        "POST /echo?X-Amz-Signature=x HTTP/1.1\r\nAuthorization: Bearer {token}\r\n",
        "POST /a/../echo HTTP/1.1\r\nAuthorization: Bearer {token}\r\n",
        "POST /a/%2e%2e/echo HTTP/1.1\r\nAuthorization: Bearer {token}\r\n",
        "POST //echo HTTP/1.1\r\nAuthorization: Bearer {token}\r\n",
        "POST /echo?a=b+c HTTP/1.1\r\nAuthorization: Bearer {token}\r\n",
    ],
)
def test_ambiguous_requests_are_a_400(stack, head):
    token = stack.token("demo-admin")
    request = head.format(token=token) + "Host: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    assert raw(stack.addresses.envoy, request.encode()).startswith(b"HTTP/1.1 400 ")
    assert nothing_arrived(stack)


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        (
            "AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
            "OIDC",
        ),
        ("AWS AKIDEXAMPLE:c2lnbmF0dXJl", "signs requests for you"),
        ('Digest username="a", realm="b"', "bearer token"),
        ("Basic YTpi", "bearer token"),
        ("Bearer", "bearer token"),
        ("bearer ", "bearer token"),
    ],
)
def test_what_is_no_bearer_token_is_a_challenge_without_an_error_code(stack, authorization, says):
    request = f"GET /echo HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
    head, _, body = raw(stack.addresses.envoy, request.encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"www-authenticate: Bearer resource_metadata=" in head
    assert b"error=" not in head
    assert says.encode() in body
    assert nothing_arrived(stack)


def test_an_authorization_header_nominated_by_connection_is_no_token(stack):
    token = stack.token("demo-admin")
    request = (
        f"POST /echo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        "Connection: close, authorization\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert raw(stack.addresses.envoy, request.encode()).startswith(b"HTTP/1.1 401 ")
    assert nothing_arrived(stack)


@pytest.mark.parametrize("mode", ["NONE", "STREAMED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"])
async def test_an_envoy_that_would_not_buffer_the_body_gets_no_signature(stack, another_envoy, mode):
    def change(text):
        changed = text.replace("request_body_mode: BUFFERED", f"request_body_mode: {mode}")
        if mode == "FULL_DUPLEX_STREAMED":
            changed = changed.replace("request_trailer_mode: SKIP", "request_trailer_mode: SEND")
        return changed

    answer = await post(stack, stack.token("demo-admin"), base=another_envoy(change))
    assert answer.status_code == 500
    assert nothing_arrived(stack)


@pytest.fixture(scope="module")
def restarted(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("restarted")) as stack:
        yield stack


@pytest.fixture
def own_stack(restarted):
    """A stack whose server a test may stop."""
    restarted.control("mcp", "reset", {})
    yield restarted
    if "extproc" not in restarted.processes:
        restarted.start_part("extproc")
    restarted.wait_ready("extproc")


async def load(stack, token, stop, seen):
    """Requests one after another, each on its merits: failures are fine, what arrives upstream is judged."""
    async with client(token=token, timeout=5.0) as http:
        url = f"http://{stack.addresses.envoy}/echo"
        while not stop.is_set():
            with contextlib.suppress(httpx2.HTTPError):
                seen.append((await http.post(url, content=b"{}")).status_code)
            await asyncio.sleep(0.02)


async def under_load(stack, disturb):
    stop, seen = asyncio.Event(), []
    tokens = [await asyncio.to_thread(stack.token, "demo-admin") for _ in range(3)]
    loads = [asyncio.create_task(load(stack, token, stop, seen)) for token in tokens * 3]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(disturb)
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.gather(*loads)
    return seen


def all_signed(stack):
    stats = stack.control("mcp", "stats")
    return stats["received"] == stats["verified"] > 0 and stats["bearer_seen"] == 0


async def test_killing_the_server_under_load_lets_nothing_through_unsigned(own_stack):
    def disturb():
        for _ in range(3):
            own_stack.stop_part("extproc", with_signal=signal.SIGKILL)
            own_stack.start_part("extproc")
            own_stack.wait_ready("extproc")

    seen = await under_load(own_stack, disturb)
    assert 200 in seen
    assert set(seen) <= {200, 500, 503, 504}
    assert all_signed(own_stack)


async def test_stopping_the_server_under_load_lets_nothing_through_unsigned(own_stack):
    def disturb():
        process = own_stack.processes["extproc"]
        for _ in range(3):
            process.send_signal(signal.SIGSTOP)
            signal.sigtimedwait([], 0.4)
            process.send_signal(signal.SIGCONT)
            signal.sigtimedwait([], 0.2)

    seen = await under_load(own_stack, disturb)
    assert 200 in seen
    assert all_signed(own_stack)


async def test_without_a_server_nothing_goes_upstream(own_stack):
    token = own_stack.token("demo-admin")
    own_stack.stop_part("extproc", with_signal=signal.SIGKILL)
    async with client(token=token) as http:
        for _ in range(20):
            answer = await http.post(f"http://{own_stack.addresses.envoy}/echo", content=b"{}")
            assert answer.status_code >= 500
    assert nothing_arrived(own_stack)
