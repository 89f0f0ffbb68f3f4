"""``extproc explain`` against the real Envoy and the real server: the same status, reason and role."""

import json
import time

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main
from extproc.demo.settings import ADMIN_ROLE
from support.http import raw
from support.stacks import Stack

RULES = [
    {"name": "no-echo", "matcher": 'mcp.tool == "echo"', "effect": "deny"},
    {"name": "admins", "claim": "admins", "role_arn": ADMIN_ROLE},
]
JSON = {"content-type": "application/json"}


def call(tool):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}


# name: the account (None: no token), the request
CASES = {
    "a call": ("demo-admin", {"headers": JSON, "body": call("whoami")}),
    "no body": ("demo-admin", {"method": "GET"}),
    "a denied tool": ("demo-admin", {"headers": JSON, "body": call("echo")}),
    "no role": ("demo-guest", {"headers": JSON, "body": call("whoami")}),
    "no token": (None, {"headers": JSON, "body": call("whoami")}),
    "no token that is one": (None, {"headers": {"authorization": "Bearer x"}}),
    "two tokens": (None, {"headers": {"authorization": ["Bearer a.b.c", "Bearer d.e.f"]}}),
    "TRACE": ("demo-admin", {"method": "TRACE"}),
    "a foreign origin": ("demo-admin", {"headers": {"origin": "https://evil.example"}}),
    "a body over the limit": ("demo-admin", {"headers": JSON, "body": "x" * 5000}),
    "a content type that is not ASCII": ("demo-admin", {"headers": {"content-type": "text/plaiñ"}, "body": "{}"}),
    "a charset": ("demo-admin", {"headers": {"content-type": "application/json; charset=utf-16"}, "body": "{}"}),
    "a coding": ("demo-admin", {"headers": {**JSON, "content-encoding": "gzip"}, "body": "{}"}),
    "no JSON": ("demo-admin", {"headers": JSON, "body": "echo"}),
    "a TAB in a content type": ("demo-admin", {"headers": {"content-type": "application/json;\tx=1"}, "body": "{}"}),
    "a signature in the query": ("demo-admin", {"method": "GET", "query": "?X-Amz-Signature=1"}),
    "dot segments": ("demo-admin", {"method": "GET", "path": "/%2e%2e"}),
    "headers that differ": ("demo-admin", {"headers": {**JSON, "mcp-name": "echo"}, "body": call("whoami")}),
    "the metadata": (None, {"method": "GET", "path": "/.well-known/oauth-protected-resource/mcp"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    def adjusted(text):
        limits = {"request_body_bytes": 4096, "mcp_body_bytes": 4096}
        more = {"role_mappings": RULES, "limits": limits, "allowed_origins": ["https://app.example"]}
        return yaml.safe_dump({**yaml.safe_load(text), **more})

    with Stack(tmp_path_factory.mktemp("explained"), adjust=adjusted) as stack:
        yield stack


def send(stack, request, token):
    """Send a request over HTTP/1.1; return the status."""
    body = request.get("body", "")
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    fields = [("host", "mcp.example"), ("connection", "close")]
    fields += [("content-length", str(len(content)))] if content else []
    fields += [("authorization", f"Bearer {token}")] if token else []
    for name, values in request.get("headers", {}).items():
        fields += [(name, value) for value in (values if isinstance(values, list) else [values])]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    message = f"{request['method']} {request['path']} HTTP/1.1\r\n{head}\r\n".encode() + content
    return int(raw(stack.addresses.envoy, message).split(b" ", 2)[1])


def decided(stack, path, *, within=10.0):
    """The decision in the audit log about a path; waits for it."""
    began = time.monotonic()
    while time.monotonic() - began < within:
        for line in (stack.directory / "audit.log").read_text().splitlines():
            if line.endswith("}") and json.loads(line)["path"] == path:
                return json.loads(line)
        time.sleep(0.05)
    raise AssertionError("no decision about that path")


@pytest.mark.parametrize("case", CASES)
def test_what_explain_says_is_what_happens(stack, tmp_path, case):
    account, template = CASES[case]
    path = template.get("path", "")
    if not path.startswith("/.well-known"):
        path = f"/echo/{list(CASES).index(case)}{path}"  # its own, to be found in the log
    request = {"method": "POST", **template, "path": path + template.get("query", "")}
    request.pop("query", None)
    token = stack.token(account) if account else None
    status = send(stack, request, token)

    (tmp_path / "request.json").write_text(json.dumps(request))
    arguments = [
        "--config",
        str(stack.directory / "extproc.yaml"),
        "--request",
        str(tmp_path / "request.json"),
    ]
    if token:
        (tmp_path / "token").write_text(token)
        arguments += ["--token", str(tmp_path / "token")]
    result = CliRunner().invoke(main, ["explain", *arguments, "--json"])
    told = json.loads(result.stdout)
    assert result.exit_code == (1 if told["outcome"] == "deny" else 0)

    ours = decided(stack, path)
    assert (told["reason"] or "") == ours["reason"]
    assert told["role_arn"] == (ours["role_arn"] if ours["decision"] == "allow" else None)
    if told["outcome"] == "deny" or ours["decision"] == "reply":
        assert told["status"] == status
    else:
        assert (ours["decision"], status) == ("allow", 200)
