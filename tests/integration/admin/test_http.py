"""The admin listener, over real HTTP."""

import contextlib
import gzip
import http.client
import re
import urllib.error
import urllib.request
from types import SimpleNamespace
from wsgiref.util import setup_testing_defaults

import pytest
from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app

from extproc.admin.http import AdminServer
from extproc.errors import Reason
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.record import RequestRecord


@contextlib.contextmanager
def serving(unready=list, metrics=None):
    server = AdminServer("127.0.0.1:0", registry=(metrics or Metrics()).registry, unready=unready)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_readiness_gives_its_reasons_and_then_says_ok():
    reasons = ["no keys of https://idp.example: not fetched yet", "another"]
    with serving(lambda: reasons) as base:
        assert get(f"{base}/readyz") == (503, "no keys of https://idp.example: not fetched yet\nanother\n")
        reasons.clear()
        assert get(f"{base}/readyz") == (200, "ok\n")
        assert get(f"{base}/healthz") == (200, "ok\n")


def test_metrics_are_served_in_prometheus_format():
    metrics = Metrics()
    record = RequestRecord()
    record.target, record.decision, record.reason = "aws-mcp", "deny", Reason.NO_ROLE.value
    metrics.decided(record)
    with serving(metrics=metrics) as base:
        status, text = get(f"{base}/metrics")
    assert status == 200
    assert 'extproc_requests_total{decision="deny",reason="no_role",target="aws-mcp"} 1.0' in text


def test_other_paths_are_a_404_that_names_the_known_ones():
    with serving() as base:
        assert get(f"{base}/") == (404, "/metrics /healthz /readyz\n")


@pytest.fixture(scope="module")
def two_gauges():
    registry = CollectorRegistry()
    for name in ("one", "two"):
        Gauge(name, "A gauge.", registry=registry).set(1)
    with serving(metrics=SimpleNamespace(registry=registry)) as base:
        yield SimpleNamespace(registry=registry, address=base.removeprefix("http://"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE"])
@pytest.mark.parametrize(
    "accept",
    [None, "*/*", "application/openmetrics-text; version=1.0.0", "text/plain;version=1.0.0; escaping=dots"],
)
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate, gzip;q=0.5", "identity"])
@pytest.mark.parametrize("query", ["", "?name[]=one", "?name%5B%5D=one&name[]=none", "?other=1"])
def test_metrics_are_served_like_prometheus_clients_own_application(
    two_gauges, method, accept, encoding, query
):
    headers = {"accept": accept, "accept-encoding": encoding}
    headers = {name: value for name, value in headers.items() if value is not None}
    environ = {
        "REQUEST_METHOD": "GET" if method == "HEAD" else method,
        "QUERY_STRING": query[1:],
        "PATH_INFO": "/metrics",
    }
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    setup_testing_defaults(environ)
    shown = {}
    body = b"".join(
        make_wsgi_app(two_gauges.registry)(
            environ, lambda *answer: shown.update(zip(("status", "headers"), answer, strict=True))
        )
    )

    def plain(content, of):
        return gzip.decompress(content) if of.get("content-encoding") == "gzip" else content

    expected = {name.lower(): value for name, value in shown["headers"]}
    connection = http.client.HTTPConnection(two_gauges.address, timeout=10)
    connection.putrequest(method, f"/metrics{query}", skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    with contextlib.closing(connection), connection.getresponse() as answer:
        received = {name.lower(): value for name, value in answer.getheaders()}
        assert answer.status == int(shown["status"][:3])
        content = plain(answer.read(), received if method != "HEAD" else {})
    for name in ("content-type", "content-encoding", "allow"):
        assert received.get(name) == expected.get(name)
    assert content == (b"" if method == "HEAD" else plain(body, expected))


def test_a_connection_is_kept_for_the_next_request():
    with serving() as base:
        connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=10)
        ports = set()
        for path in ("/healthz", "/metrics", "/nowhere", "/readyz"):
            connection.request("GET", path)
            ports.add(connection.sock.getsockname())
            answer = connection.getresponse()
            answer.read()
            assert answer.version == 11
        connection.close()
        assert len(ports) == 1


def test_it_listens_at_ipv6_addresses():
    server = AdminServer("[::1]:0", registry=Metrics().registry, unready=list)
    server.start()
    try:
        assert get(f"http://[::1]:{server.port}/healthz") == (200, "ok\n")
    finally:
        server.stop()


def test_a_failure_is_a_500_and_only_its_type_is_logged(capsys):
    def broken():
        raise RuntimeError("canary")

    with serving(broken) as base:
        status, text = get(f"{base}/readyz")
    assert (status, text) == (500, "internal error, see the log\n")
    shown = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    assert "error=RuntimeError" in shown
    assert "canary" not in shown


def test_an_address_in_use_is_an_os_error_and_leaves_nothing_running():
    with serving() as base:
        address = base.removeprefix("http://")
        with pytest.raises(OSError, match=f"listen.admin {address}: .*in use"):
            AdminServer(address, registry=Metrics().registry, unready=list)
