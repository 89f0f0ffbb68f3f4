"""Eight kinds of refusal, through the real Envoy, as people read them in MCP clients."""

import asyncio
import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from mcp.shared.exceptions import MCPError

from extproc.cli import main
from extproc.demo.driver import mcp_client
from extproc.demo.settings import ADMIN_ROLE, DEVELOPER_ROLE
from support.http import client
from support.stacks import Stack

SUPPORT = "the platform team in #aws-help"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
NOT_AT_STS = "https://not-at-sts.example"
TYPESCRIPT_SDK = "@modelcontextprotocol/sdk@1.32.2"
GO_SDK = "github.com/modelcontextprotocol/go-sdk@v1.8.0"
PROGRAMS = Path(__file__).parent.parent / "support"


def with_refusals(text, directory, status):
    settings = yaml.safe_load(text)
    settings["listen"]["admin_grpc"] = f"unix:{directory}/admin.sock"
    settings["issuers"][0]["audiences"].append(NOT_AT_STS)
    settings["targets"][0]["prefix"] = "/aws"
    settings["limits"] = {"mcp_body_bytes": 4096, "request_body_bytes": 65536}
    settings["support"] = SUPPORT
    settings["mcp"] = {"denied_status": status}
    settings["role_mappings"] = [
        {
            "name": "no-echo",
            "matcher": 'mcp.tool == "echo"',
            "effect": "deny",
            "message": "Nobody echoes on Fridays.",
        },
        {"name": "admins", "claim": "admins", "role_arn": ADMIN_ROLE, "priority": 1},
        {
            "name": "developers",
            "claim": "developers",
            "role_arn": DEVELOPER_ROLE,
            "policy_arns": [READ_ONLY],
            "priority": 2,
        },
    ]
    settings["ceilings"] = [
        {"name": "all", "matcher": 'claims.sub == "demo-developer"', "policy_arns": [READ_ONLY]}
    ]
    return yaml.safe_dump(settings)


@pytest.fixture(scope="module", params=[None, 200], ids=["status of the specification", "status 200"])
def refusing(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("refusing")
    with Stack(directory, adjust=lambda text: with_refusals(text, directory, request.param)) as stack:
        stack.denied_status = request.param
        yield stack


@contextlib.contextmanager
def nothing(_stack):
    yield


@contextlib.contextmanager
def sts_fails(stack):
    stack.control("sts", "faults", {"mode": "fail"})
    yield
    stack.control("sts", "faults", {"mode": None})


@contextlib.contextmanager
def admin_revoked(stack):
    config = str(stack.directory / "extproc.yaml")
    command = ["admin", "revoke", "--subject", "demo-admin", "--config", config]
    CliRunner().invoke(main, command, catch_exceptions=False)
    yield
    stack.stop_part("extproc")
    stack.start_part("extproc")
    stack.wait_ready("extproc")


class Kind:
    """One kind of refusal: who calls what, what a person reads, and the status by default."""

    def __init__(self, reads, status, *, account="demo-admin", tool="whoami", path="/aws/mcp", **options):
        self.reads, self.status, self.account, self.tool, self.path = reads, status, account, tool, path
        self.arguments = options.get("arguments", {})
        self.token = options.get("token", {})
        self.while_ = options.get("while_", nothing)


KINDS = {
    "no role": Kind(f"no AWS role here for this request; ask {SUPPORT}.", 403, account="demo-guest"),
    "a deny rule": Kind("Nobody echoes on Fridays.", 403, tool="echo", arguments={"text": "hi"}),
    "a ceiling": Kind("What an agent may do for your account here", 403, account="demo-developer"),
    "an unknown path": Kind("Nothing is served at this path.", 404, path="/elsewhere/mcp"),
    "STS refusing the audience": Kind(
        "logging in again does not help; ask", 500, token={"audience": NOT_AT_STS}
    ),
    "STS down": Kind("AWS's token service (STS) does not answer.", 503, while_=sts_fails),
    "a body too large": Kind("The request body is too large.", 413, arguments={"text": "x" * 8192}),
    "revoked": Kind("Your access here has been revoked for now; ask", 403, while_=admin_revoked),
}


def texts(error):
    if isinstance(error, BaseExceptionGroup):
        return [text for inner in error.exceptions for text in texts(inner)]
    return [str(error)]


async def shown_by_python(url, token, kind, mode):
    try:
        async with mcp_client(url, token, mode=mode) as mcp:
            result = await mcp.call_tool(kind.tool, kind.arguments)
            assert result.is_error
            return result.content[0].text
    except (MCPError, BaseExceptionGroup) as error:
        return " | ".join(texts(error))


# Status and mode have nothing to do with each other: two of their four pairs will do.
@pytest.mark.parametrize("other_pairs", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_python_sdk_shows_why(refusing, kind, other_pairs):
    mode = "2026-07-28" if (refusing.denied_status is None) != other_pairs else "legacy"
    case = KINDS[kind]
    token = refusing.token(case.account, **case.token)
    with case.while_(refusing):
        shown = await shown_by_python(f"http://{refusing.addresses.envoy}{case.path}", token, case, mode)
    assert case.reads in shown


@pytest.mark.parametrize("kind", KINDS)
async def test_the_answer_has_the_id_and_the_status_that_is_configured(refusing, kind):
    case = KINDS[kind]
    token = refusing.token(case.account, **case.token)
    call = {"jsonrpc": "2.0", "id": "a-7", "method": "tools/call"}
    call["params"] = {"name": case.tool, "arguments": case.arguments}
    received = refusing.control("mcp", "stats")["received"]
    with case.while_(refusing):
        async with client(token=token) as http:
            answer = await http.post(f"http://{refusing.addresses.envoy}{case.path}", json=call)
    body = answer.json()
    assert answer.status_code == (refusing.denied_status or case.status)
    assert body["id"] == "a-7"
    if refusing.denied_status:
        assert body["result"]["isError"]
        assert case.reads in body["result"]["content"][0]["text"]
    else:
        assert body["error"]["code"] == 10_000 + case.status
        assert case.reads in body["error"]["message"]
    assert "www-authenticate" not in answer.headers
    assert refusing.control("mcp", "stats")["received"] == received
    assert ADMIN_ROLE not in answer.text
    assert "no-echo" not in answer.text


async def test_a_login_is_asked_for_at_once_and_whatever_the_configuration(refusing):
    # The head only: a body is neither waited for nor needed.
    head = (
        b"POST /aws/mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    host, _, port = refusing.addresses.envoy.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head)
    answer = await asyncio.wait_for(reader.readuntil(b"}}}"), 20)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"www-authenticate: Bearer resource_metadata=" in answer
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["error"]["code"] == 10_401
    assert "id" not in body


BOTH = {"accept": "application/json, text/event-stream"}


async def sent(stack, token, *, headers=BOTH):
    call = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "any", "arguments": {}},
    }
    async with client(token=token) as http:
        return await http.post(f"http://{stack.addresses.envoy}/aws/mcp", json=call, headers=headers)


async def in_parts(stack, headers, token):
    async def parts():
        for _ in range(64):
            yield b"x" * 65_536

    async with client(token=token) as http:
        url = f"http://{stack.addresses.envoy}/aws/mcp"
        return await http.post(url, content=parts(), headers={"content-type": "application/json", **headers})


@pytest.mark.parametrize("again", [1, 2])  # the first answer of a session is looked at
async def test_a_body_over_envoys_buffer_is_a_413_as_a_json_rpc_error(refusing, again):
    token = refusing.token("demo-admin")
    for _ in range(again):
        answer = await in_parts(refusing, BOTH, token)
    body = answer.json()
    assert answer.status_code == 413
    assert (body["jsonrpc"], body["error"]["code"]) == ("2.0", 10_413)
    assert body["error"]["message"] == "The request body is too large."
    assert len(body["error"]["data"]["request_id"]) == 36
    assert "id" not in body


async def test_what_extproc_refuses_keeps_its_own_body(refusing):
    refusing.control("sts", "faults", {"mode": "fail"})
    answer = await sent(refusing, refusing.token("demo-admin"))
    refusing.control("sts", "faults", {"mode": None})
    assert "STS" in answer.text
    assert answer.json()["id"] == 7


async def test_an_extproc_that_is_away_is_a_json_rpc_error_of_envoys(refusing):
    token = refusing.token("demo-admin")
    refusing.stop_part("extproc")
    try:
        answer = await sent(refusing, token)
    finally:
        refusing.start_part("extproc")
        refusing.wait_ready("extproc")
    assert answer.status_code in (500, 503, 504)
    body = answer.json()
    assert body["error"]["code"] == 10_000 + answer.status_code
    assert body["error"]["message"].endswith((f"ask {SUPPORT}.", "Try again in a few seconds."))


@pytest.fixture(scope="session")
def typescript(tmp_path_factory):
    """A folder with the official TypeScript SDK and our script."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js is not installed: what the TypeScript SDK shows is not looked at")
    directory = tmp_path_factory.mktemp("typescript")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", TYPESCRIPT_SDK]
    try:
        subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("npm cannot install the TypeScript SDK here: what it shows is not looked at")
    return Path(shutil.copy(PROGRAMS / "typescript" / "refused.mjs", directory))


@pytest.fixture(scope="session")
def go(tmp_path_factory):
    """Our program with the official Go SDK."""
    if shutil.which("go") is None:
        pytest.skip("Go is not installed: what the Go SDK shows is not looked at")
    directory = tmp_path_factory.mktemp("go")
    shutil.copy(PROGRAMS / "go" / "refused.go", directory)
    try:
        for command in (["mod", "init", "refused"], ["get", GO_SDK], ["mod", "tidy"], ["build", "."]):
            subprocess.run(["go", *command], cwd=directory, check=True, capture_output=True, timeout=170)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("go cannot build with the Go SDK here: what it shows is not looked at")
    return directory / "refused"


def shown_by(program, stack, case):
    token = stack.token(case.account, **case.token)
    url = f"http://{stack.addresses.envoy}{case.path}"
    command = [*program, url, token, case.tool, json.dumps(case.arguments)]
    with case.while_(stack):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)["text"]


@pytest.mark.long
@pytest.mark.timeout(600)  # Go builds the SDK
@pytest.mark.parametrize("kind", KINDS)
def test_the_go_sdk_shows_why(refusing, go, kind):
    case = KINDS[kind]
    shown = shown_by([str(go)], refusing, case)
    if case.status >= 500 and refusing.denied_status is None:
        assert "rejected by transport" in shown  # of a 5xx the SDK shows the status only
    else:
        assert case.reads in shown


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_typescript_sdk_shows_why(refusing, typescript, kind):
    assert KINDS[kind].reads in shown_by(["node", str(typescript)], refusing, KINDS[kind])
