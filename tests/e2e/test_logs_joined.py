"""One request in three logs: ours, Envoy's, the upstream's, under one request id."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from support.http import client
from support.streams import HeldStream

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"


def lines(stack, name):
    """The JSON lines of a log, once Envoy and our writer have written them."""
    found = []
    for line in (stack.directory / name).read_text(errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def with_value(stack, name, key, value, *, within=10.0):
    """The lines that have a value; waits for the first of them."""
    began = time.monotonic()
    while True:
        found = [line for line in lines(stack, name) if line.get(key) == value]
        if found or time.monotonic() - began > within:
            return found
        time.sleep(0.1)


def run_documented_command(directory):
    """The one of docs/operations.md that joins both logs, in a directory that has them."""
    blocks = re.findall(r"```sh\n(.*?)```", OPERATIONS.read_text(), flags=re.DOTALL)
    (command,) = [block for block in blocks if "access.log" in block]
    return subprocess.run(["sh", "-c", command], cwd=directory, capture_output=True, text=True, check=False)


async def ask(stack, path, *, token=None):
    async with client(token=token) as http:
        url = f"http://{stack.addresses.envoy}{path}?canary=query"
        answer = await http.post(url, content=b"{}", headers={"x-request-id": "chosen-by-the-client"})
        return answer.status_code


async def test_an_allowed_request_is_in_all_three_logs_with_role_and_access_key_id(stack):
    token = stack.token("demo-admin")
    for path, cache in (("/joined/1", "miss"), ("/joined/2", "hit")):
        assert await ask(stack, path, token=token) == 200
        (ours,) = with_value(stack, "audit.log", "path", path)
        assert len(ours["request_id"]) == 36  # Envoy's, not the client's
        (envoys,) = with_value(stack, "envoy.log", "request_id", ours["request_id"])
        (upstreams,) = with_value(stack, "mcp.log", "request_id", ours["request_id"])
        assert ours["access_key_id"] == envoys["access_key_id"] == upstreams["access_key_id"]
        assert ours["access_key_id"].startswith("ASIA")
        assert ours["role_arn"] == envoys["role"] == "arn:aws:iam::123456789012:role/DemoAdmin"
        assert upstreams["arn"].endswith(f"assumed-role/DemoAdmin/{ours['session_name']}")
        assert (ours["subject"], envoys["user"]) == ("demo-admin", "demo-admin")
        assert (ours["decision"], envoys["decision"]) == ("allow", "allow")
        assert (ours["mapping"], envoys["mapping"]) == ("admins", "admins")
        assert (ours["cache"], envoys["cache"]) == (cache, cache)
        assert envoys["path"] == upstreams["path"] == path
        assert ours["duration_us"] == envoys["extproc_us"] > 0
        assert (envoys["status"], upstreams["outcome"]) == (200, "verified")


async def test_a_denied_request_is_in_ours_and_envoys_with_its_reason_and_not_upstream(stack):
    denials = [
        ("/denied/1", None, 401, "token_missing", None),
        ("/denied/2", stack.token("demo-guest"), 403, "no_role", "demo-guest"),
        ("/denied/%2e%2e/3", stack.token("demo-admin"), 400, "request_ambiguous", None),
    ]
    for path, token, status, reason, subject in denials:
        assert await ask(stack, path, token=token) == status
        (ours,) = with_value(stack, "audit.log", "path", path)
        (envoys,) = with_value(stack, "envoy.log", "request_id", ours["request_id"])
        assert ours["reason"] == envoys["reason"] == reason
        assert (ours["decision"], envoys["decision"]) == ("deny", "deny")
        assert ours["subject"] == envoys["user"] == subject
        assert ours["access_key_id"] is envoys["access_key_id"] is None
        assert envoys["status"] == status
        assert with_value(stack, "mcp.log", "request_id", ours["request_id"], within=0) == []


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is missing: the documented command is jq's")
async def test_what_became_of_an_allow_is_found_by_the_command_in_the_documentation(stack, tmp_path):
    answered = await ask(stack, "/joined/answered", token=stack.token("demo-admin"))
    left = HeldStream(stack, stack.token("demo-admin"), "/sse?n=2&delay=0.5", method="GET")
    assert (answered, left.status) == (200, 200)
    left.leave()
    (ours,) = [
        event for event in with_value(stack, "audit.log", "path", "/sse") if event["decision"] == "allow"
    ]
    assert with_value(stack, "envoy.log", "request_id", ours["request_id"])
    for log, name in (
        ("audit.log", "audit.log"),
        ("envoy.log", "access.log"),
    ):  # Envoy's own lines are no JSON
        (tmp_path / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines(stack, log)))
    done = run_documented_command(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = {line["request_id"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert found[ours["request_id"]] == {
        "request_id": ours["request_id"],
        "user": "demo-admin",
        "status": 200,
        "flags": "DC",
        "details": found[ours["request_id"]]["details"],
        "tool": ours["mcp_tool"],
    }
    allowed = {event["request_id"] for event in lines(stack, "audit.log") if event["decision"] == "allow"}
    assert found.keys() <= allowed
    assert len(found) < len(allowed)


async def test_metrics_of_a_running_server_show_what_happened(stack):
    token = stack.token("demo-admin")
    for _ in range(2):
        assert await ask(stack, "/metrics", token=token) == 200
    text = stack.http.request("GET", f"http://{stack.addresses.extproc_admin}/metrics").data.decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values['extproc_requests_total{decision="allow",reason="",target="aws-mcp"}']) >= 2
    assert float(values['extproc_cache_entries{cache="credentials"}']) >= 1
    assert float(values['extproc_exchanges_total{code="",outcome="ok"}']) >= 1
    assert float(values[f'extproc_jwks_fetches_total{{issuer="{stack.addresses.issuer}",outcome="ok"}}']) >= 1
    assert 0 <= float(values[f'extproc_jwks_age_seconds{{issuer="{stack.addresses.issuer}"}}']) < 3600
    assert values["extproc_ready"] == "1.0"
    assert float(values['extproc_audit_events_total{outcome="written"}']) >= 2
