"""AWS's refusals of signatures are seen by default, through the real Envoy, and nothing waits for that."""

import asyncio
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from extproc.envoyconf.options import EnvoyOptions
from support.envoys import further_envoy
from support.http import client
from support.served import served
from support.stacks import Stack
from support.supervised import until


class SlowService(ThreadingHTTPServer):
    """Answers nothing until ``go_on`` is set."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _SlowHandler)
        self.go_on = threading.Event()
        self.asked = threading.Event()


class _SlowHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.set()
        self.server.go_on.wait(30)
        self.send_response(200)
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"late")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def slow():
    with served(SlowService()) as service:
        yield service
        service.go_on.set()


@pytest.fixture(
    scope="module", params=[("completion_queue", "http"), ("aio", "http"), ("completion_queue", "upstream")]
)
def running(request, tmp_path_factory, slow):
    engine, placement = request.param

    def adjust(text):
        endpoint = text.split("endpoint_url: ")[1].split("\n")[0]
        more = (
            "targets:\n- name: elsewhere\n  host: aws-mcp.us-east-1.api.aws\n  region: eu-west-1\n"
            f"  prefix: /elsewhere\n  endpoint_url: {endpoint}\n"
            "- name: slow\n  host: slow.example\n  region: us-east-1\n  service: x\n  prefix: /slow\n"
            f"  endpoint_url: http://127.0.0.1:{slow.server_address[1]}\n"
        )
        return text.replace("targets:\n", more).replace("listen:\n", f"listen:\n  engine: {engine}\n", 1)

    directory = tmp_path_factory.mktemp("stack")
    with Stack(directory, adjust=adjust, envoy_options=EnvoyOptions(placement=placement)) as stack:
        yield stack


def answers(stack, target):
    """What the metrics say of a target's answers, but for what was never counted."""
    text = stack.http.request("GET", f"http://{stack.addresses.extproc_admin}/metrics").data.decode()
    counts = {}
    for line in text.splitlines():
        found = re.fullmatch(
            r'extproc_upstream_answers_total\{refused="(\w+)",target="([^"]+)"\} (\S+)', line
        )
        if found and found[2] == target and float(found[3]):
            counts[found[1]] = float(found[3])
    return counts


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_wrong_region_is_logged_with_a_hint_and_counted(running, method):
    before = answers(running, "elsewhere").get("region", 0)
    url = f"http://{running.addresses.envoy}/elsewhere/echo"
    async with client(token=running.token("demo-admin")) as http:
        answer = await http.request(method, url, content=b"{}" if method == "POST" else None)
    assert answer.status_code in (401, 403)
    assert "Credential should be scoped to a valid region" in answer.text
    assert answers(running, "elsewhere") == {"region": before + 1}
    lines = (running.directory / "extproc.log").read_text().splitlines()
    told = [json.loads(line) for line in lines if "upstream_refused_signature" in line]
    assert told[-1]["target"] == "elsewhere"
    assert told[-1]["reason"] == "region"
    assert told[-1]["signed_for"]["region"] == "eu-west-1"
    assert "extproc sign --compare" in told[-1]["hint"]


async def test_of_a_session_the_first_answers_are_looked_at_and_then_ever_fewer(running):
    before = answers(running, "aws-mcp").get("none", 0)
    async with client(token=running.token("demo-admin")) as http:
        for _ in range(20):
            assert (await http.get(f"http://{running.addresses.envoy}/echo")).status_code == 200
    assert answers(running, "aws-mcp") == {"none": before + 9}


async def test_an_answer_that_takes_its_time_survives_the_servers_stop(running, slow):
    slow.go_on.clear()
    slow.asked.clear()
    async with client(token=running.token("demo-admin")) as http:
        asking = asyncio.create_task(http.post(f"http://{running.addresses.envoy}/slow/call", content=b"{}"))
        assert await asyncio.to_thread(slow.asked.wait, 20)
        stopping = asyncio.to_thread(running.stop_part, "extproc")
        assert await asyncio.wait_for(stopping, 15) == 0
        slow.go_on.set()
        answer = await asking
    assert (answer.status_code, answer.text) == (200, "late")
    running.start_part("extproc")
    await asyncio.to_thread(running.wait_ready, "extproc")


async def test_where_envoy_shows_no_answers_that_is_counted_and_nothing_else_changes(running, tmp_path):
    def change(text):
        assert "allow_mode_override: true" in text
        return text.replace("allow_mode_override: true", "allow_mode_override: false")

    before = answers(running, "aws-mcp").get("not_shown", 0)
    with further_envoy(running, tmp_path, change) as envoy:
        async with client(token=running.token("demo-admin")) as http:
            for path, body in (("/echo", b"{}"), ("/sse?n=3&delay=0", None)):
                answer = await http.request("POST" if body else "GET", f"{envoy}{path}", content=body)
                assert answer.status_code == 200
        until(lambda: answers(running, "aws-mcp").get("not_shown", 0) == before + 2, "two answers not shown")
