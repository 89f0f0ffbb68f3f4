import signal
import subprocess
import sys

import httpx2
import pytest


@pytest.fixture
def start():
    processes = []

    def run(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "extproc.demo.service", *arguments, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), process.stderr.read()
        return process, line.split()[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["idp", "sts", "mcp"])
def test_a_service_announces_itself_serves_and_stops_on_sigterm(start, name):
    process, url = start(name)
    with httpx2.Client(trust_env=False) as http:
        assert http.get(f"{url}/healthz").json() == {"status": "ok"}
        # The client's connection is still open here: keep-alive must not delay the stop.
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    out, err = process.communicate()
    assert (out, err) == ("", "")


def test_sigterm_ends_a_hanging_request_in_time(start):
    process, url = start("idp")
    with httpx2.Client(trust_env=False, timeout=5) as http:
        http.post(f"{url}/_control/faults", json={"jwks": "hang"})
        with pytest.raises(httpx2.TimeoutException):
            http.get(f"{url}/jwks.json", timeout=0.2)
    with httpx2.Client(trust_env=False, timeout=0.2) as http:
        with pytest.raises(httpx2.TimeoutException):
            http.get(f"{url}/jwks.json")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_one_date_header_comes_from_each_service(start):
    for name in ("idp", "sts"):
        _, url = start(name)
        answer = httpx2.post(f"{url}/" if name == "sts" else f"{url}/token", trust_env=False)
        assert len(answer.headers.get_list("date")) == 1
