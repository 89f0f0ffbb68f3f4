"""Revocation through the admin API, with the real grpcurl, as clients of Envoy see it."""

import asyncio
import json
import subprocess

import pytest

from extproc.admin.server import SERVICE
from extproc.demo.stack import find_program
from support.http import client
from support.stacks import Stack


class Administered(Stack):
    """A stack with the admin API on a Unix socket."""

    @property
    def socket(self):
        return self.directory / "admin.sock"

    def admin(self, method, **fields):
        command = [find_program("grpcurl"), "-plaintext", "-unix", "-d", json.dumps(fields)]
        command += [str(self.socket), f"{SERVICE}/{method}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def subjects(self):
        return [session["subject"] for session in self.admin("ListSessions").get("sessions", [])]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    directory = tmp_path_factory.mktemp("administered")
    address = f"listen:\n  admin_grpc: unix:{directory}/admin.sock\n"

    def adjust(text):
        # STS may take longer than a test takes on a busy machine.
        return text.replace("listen:\n", address, 1).replace(
            "sts:\n", "sts:\n  timeout: 20\n  deadline: 30\n", 1
        )

    with Administered(directory, adjust=adjust) as stack:
        yield stack


@pytest.fixture
def stack(running):
    """The stack after a restart of extproc: without sessions, and with nobody revoked."""
    running.stop_part("extproc")
    running.start_part("extproc")
    running.wait_ready("extproc")
    running.control("sts", "reset", {})
    running.control("mcp", "reset", {})
    yield running
    running.control("sts", "faults", {"mode": None})


def url(stack):
    return f"http://{stack.addresses.envoy}/echo"


async def status(stack, token):
    async with client(token=token) as http:
        return (await http.post(url(stack), content=b"{}")).status_code


async def until(happened):
    for _ in range(300):
        if await asyncio.to_thread(happened):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it never happened")


async def test_a_revoked_user_is_refused_with_the_next_request_and_nobody_else(stack):
    tokens = {name: stack.token(name) for name in ("demo-admin", "demo-developer")}
    for token in tokens.values():
        assert await status(stack, token) == 200
    assert sorted(stack.subjects()) == ["demo-admin", "demo-developer"]
    revoked = stack.admin("Revoke", subject="demo-admin")
    assert (revoked["sessions"], revoked["credentials"]) == (1, 1)
    async with client(token=tokens["demo-admin"]) as http:
        answer = await http.post(url(stack), content=b"{}")
    assert answer.status_code == 403
    assert answer.json()["error"] == "access_denied"
    assert "Your access here has been revoked" in answer.json()["error_description"]
    assert "www-authenticate" not in answer.headers  # another login would not help
    assert await status(stack, tokens["demo-developer"]) == 200
    assert stack.control("mcp", "stats")["received"] == 3
    assert stack.control("sts", "stats")["calls"] == 2
    assert stack.subjects() == ["demo-developer"]


async def test_one_token_of_a_user_is_revoked_by_its_id_and_the_others_go_on(stack):
    lost, kept = stack.token("demo-admin"), stack.token("demo-admin")
    assert await status(stack, lost) == 200
    (session,) = stack.admin("ListSessions", subject="demo-admin")["sessions"]
    stack.admin("Revoke", jti=session["jti"])
    assert await status(stack, lost) == 401
    assert await status(stack, kept) == 200


async def test_credentials_of_a_role_are_dropped_and_obtained_anew(stack):
    token = stack.token("demo-admin")
    assert await status(stack, token) == 200
    (session,) = stack.admin("ListSessions")["sessions"]
    (before,) = session["credentials"]
    revoked = stack.admin("Revoke", role_arn=before["role_arn"])
    assert revoked["credentials"] == 1
    assert await status(stack, token) == 200
    (session,) = stack.admin("ListSessions")["sessions"]
    assert session["credentials"][0]["access_key_id"] != before["access_key_id"]


async def test_a_request_whose_body_is_held_up_is_not_signed_after_a_revocation(stack):
    token = stack.token("demo-admin")
    assert await status(stack, token) == 200
    asked, revoked = asyncio.Event(), asyncio.Event()

    async def body():
        yield b"a"
        asked.set()
        await revoked.wait()
        yield b"b"

    async with client(token=token) as http:
        held_up = asyncio.create_task(http.post(url(stack), content=body()))
        await asked.wait()
        await asyncio.to_thread(stack.admin, "Revoke", subject="demo-admin")
        revoked.set()
        assert (await held_up).status_code == 403
    assert stack.control("mcp", "stats")["received"] == 1


async def test_an_exchange_under_way_at_a_revocation_lets_nothing_out(stack):
    token = stack.token("demo-admin")
    stack.control("sts", "faults", {"mode": "slow", "delay": 5.0})
    async with client(token=token) as http:
        waiting = [asyncio.create_task(http.post(url(stack), content=b"{}")) for _ in range(5)]
        await until(lambda: stack.admin("GetStatus")["workers"][0].get("exchanges_waiting"))
        await asyncio.to_thread(stack.admin, "Revoke", subject="demo-admin")
        answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} == {403}
    assert stack.control("mcp", "stats")["received"] == 0
    assert stack.subjects() == []


async def test_under_load_no_request_of_a_revoked_user_reaches_the_upstream_after_the_answer(stack):
    tokens = {name: stack.token(name) for name in ("demo-admin", "demo-developer")}
    over = asyncio.Event()
    statuses = {name: [] for name in tokens}

    async def calls(name):
        async with client(token=tokens[name]) as http:
            while not over.is_set():
                statuses[name].append((await http.post(url(stack), content=b"{}")).status_code)

    async with asyncio.TaskGroup() as group:
        for name in [*tokens, *tokens]:
            group.create_task(calls(name))
        await until(lambda: all(seen.count(200) > 20 for seen in statuses.values()))
        await asyncio.to_thread(stack.admin, "Revoke", subject="demo-admin")
        told_at = {name: len(seen) for name, seen in statuses.items()}
        await until(lambda: all(len(seen) > told_at[name] + 20 for name, seen in statuses.items()))
        over.set()
    # Those under way when the answer came, one a caller, may have been sent before it.
    assert set(statuses["demo-admin"][told_at["demo-admin"] + 2 :]) == {403}
    assert set(statuses["demo-developer"]) == {200}


async def test_a_reload_takes_up_the_file_or_says_why_not_and_explains_by_what_is_running(stack):
    path = stack.directory / "extproc.yaml"
    before = path.read_text()
    claims = {"sub": "x", "groups": ["newcomers"]}

    def reason():
        return stack.admin("Explain", claims=claims)["explanation"]["reason"]

    def configuration():
        return stack.admin("GetStatus")["workers"][0]["configuration"]

    assert reason() == "no_role"
    digest = configuration()["digest"]
    try:
        path.write_text(before.replace("session_duration: 900", "session_duration: 1"))
        problems = stack.admin("Reload")["problems"]
        assert any(problem.startswith("session_duration") for problem in problems)
        assert configuration()["problems"] == problems
        assert configuration()["digest"] == digest
        path.write_text(before.replace("claim: admins", "claim: newcomers"))
        assert "problems" not in stack.admin("Reload")
        assert reason() is None
        assert configuration()["digest"] != digest
        assert "problems" not in configuration()
    finally:
        path.write_text(before)
        stack.admin("Reload")
