"""The admin listener, over real HTTP."""

import contextlib
import urllib.error
import urllib.request

from extproc.errors import Reason
from extproc.server.admin import AdminServer
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.record import Record


@contextlib.contextmanager
def serving(unready=list, metrics=None):
    server = AdminServer(host="127.0.0.1", port=0, registry=(metrics or Metrics()).registry, unready=unready)
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
    record = Record()
    record.target, record.decision, record.reason = "aws-mcp", "deny", Reason.NO_ROLE.value
    metrics.decided(record)
    with serving(metrics=metrics) as base:
        status, text = get(f"{base}/metrics")
    assert status == 200
    assert 'extproc_requests_total{decision="deny",reason="no_role",target="aws-mcp"} 1.0' in text


def test_other_paths_are_a_404_that_names_the_known_ones():
    with serving() as base:
        assert get(f"{base}/") == (404, "/metrics /healthz /readyz\n")
