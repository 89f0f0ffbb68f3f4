"""The demo's services as processes: their first line, and their end."""

import httpx2
import pytest

from support import forked
from support.supervised import until


class Service:
    """A service as a process, and what it writes after its first line."""

    def __init__(self, directory, name):
        self._files = directory / f"{name}.out", directory / f"{name}.err"
        self.process = forked.Process(
            ["-m", "extproc.demo.service", name, "--listen", "127.0.0.1:0"], *self._files
        )
        until(lambda: self.process.poll() is not None or "\n" in self._files[0].read_text(), "no line")
        first, _ = self.written()
        assert first.startswith("listening on http://127.0.0.1:"), self.written()
        self.url = first.split()[-1]

    def written(self):
        """Return the standard output and the standard error."""
        return tuple(file.read_text() for file in self._files)


@pytest.fixture
def start(tmp_path):
    services = []

    def run(name):
        services.append(Service(tmp_path, name))
        return services[-1]

    yield run
    for service in services:
        service.process.kill()
        service.process.wait()


@pytest.mark.parametrize("name", ["idp", "sts", "mcp"])
def test_a_service_announces_itself_serves_and_stops_on_sigterm(start, name):
    service = start(name)
    with httpx2.Client(trust_env=False) as http:
        assert http.get(f"{service.url}/healthz").json() == {"status": "ok"}
        # The client's connection is still open here: keep-alive must not delay the stop.
        service.process.terminate()
        assert service.process.wait(30) == 0
    assert service.written() == (f"listening on {service.url}\n", "")


def test_sigterm_ends_a_hanging_request_in_time(start):
    service = start("idp")
    url = service.url
    with httpx2.Client(trust_env=False, timeout=5) as http:
        http.post(f"{url}/_control/faults", json={"jwks": "hang"})
        with pytest.raises(httpx2.TimeoutException):
            http.get(f"{url}/jwks.json", timeout=0.2)
    with httpx2.Client(trust_env=False, timeout=0.2) as http:
        with pytest.raises(httpx2.TimeoutException):
            http.get(f"{url}/jwks.json")
        service.process.terminate()
        assert service.process.wait(30) == 0


def test_one_date_header_comes_from_each_service(start):
    for name in ("idp", "sts"):
        url = start(name).url
        answer = httpx2.post(f"{url}/" if name == "sts" else f"{url}/token", trust_env=False)
        assert len(answer.headers.get_list("date")) == 1
