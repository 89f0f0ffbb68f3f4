"""A span for each decision, with the exchange inside it, under the caller's trace."""

import sys
import time

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from extproc import config
from extproc.app.observation import build_tracer
from extproc.telemetry.tracing import OtelTracer, _with_path
from support.telemetry import GRANT, head, identity, record

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SETTINGS = """\
resource: {url: https://mcp.example.com/mcp}
issuers: [{issuer: https://idp.example.com/, audiences: [https://mcp.example.com/mcp]}]
targets: [{name: aws-mcp, host: aws-mcp.us-east-1.api.aws}]
role_mappings: [{claim: admins, role_arn: "arn:aws:iam::123456789012:role/Admin"}]
"""


@pytest.fixture
def traced():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = OtelTracer(provider)

    def trace(made):
        tracer.trace(made, ended_at=time.time_ns())
        return {span.name: span for span in exporter.get_finished_spans()}

    yield trace
    tracer.close()


def allowed(**fields):
    now = time.perf_counter()
    made = record(
        head=head(headers=[("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "r1")]),
        identity=identity(),
        grant=GRANT,
        access_key_id="ASIA1",
        cache="miss",
        stages={"exchange": (now - 0.2, now - 0.1)},
        **fields,
    )
    made.arrived = now - 0.5
    return made


def test_the_decision_is_a_child_of_the_callers_span_and_holds_the_exchange(traced):
    spans = traced(allowed())
    decision, exchange = spans["extproc.decision"], spans["extproc.exchange"]
    assert f"{decision.context.trace_id:032x}" == TRACE
    assert f"{decision.parent.span_id:016x}" == PARENT
    assert exchange.parent.span_id == decision.context.span_id
    assert (decision.kind, exchange.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert decision.start_time < exchange.start_time < exchange.end_time <= decision.end_time
    assert exchange.end_time - exchange.start_time == pytest.approx(1e8, rel=0.01)
    assert decision.end_time - decision.start_time >= 5e8


def test_attributes_have_the_decision_and_no_secret(traced):
    decision = traced(allowed())["extproc.decision"]
    attributes = dict(decision.attributes)
    assert attributes.pop("extproc.duration_us") >= 0
    assert attributes == {
        "extproc.decision": "allow",
        "extproc.target": "aws-mcp",
        "extproc.cache": "miss",
        "extproc.mapping": "admins",
        "extproc.role_arn": GRANT.role_arn,
        "extproc.access_key_id": "ASIA1",
        "extproc.request_id": "r1",
        "enduser.id": "alice",
        "http.request.method": "POST",
        "url.path": "/mcp",
    }
    assert "canary" not in decision.to_json()


@pytest.mark.parametrize(
    ("reason", "status"), [("sts_unavailable", StatusCode.ERROR), ("no_role", StatusCode.UNSET)]
)
def test_only_what_is_not_the_clients_fault_is_an_error(traced, reason, status):
    decision = traced(record(decision="deny", reason=reason))["extproc.decision"]
    assert decision.status.status_code == status


@pytest.mark.parametrize("parent", [None, "nonsense", f"00-{'0' * 32}-{PARENT}-01"])
def test_without_a_usable_parent_a_trace_begins(traced, parent):
    headers = [("traceparent", parent)] if parent else []
    assert traced(record(head=head(headers=headers)))["extproc.decision"].parent is None


def test_a_request_without_a_head_is_traced_too(traced):
    assert traced(record(head=None, decision="deny", reason="protocol_violation"))["extproc.decision"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_off_by_default(environment):
    assert build_tracer(config.parse(SETTINGS), environment) is None


def test_an_endpoint_without_the_library_is_refused_or_warned_about(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "extproc.telemetry.tracing")
    assert build_tracer(config.parse(SETTINGS), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) is None
    with pytest.raises(OSError, match="otel"):
        build_tracer(config.parse(SETTINGS + "tracing: {endpoint: 'http://127.0.0.1:1'}"), {})


@pytest.mark.parametrize(
    ("endpoint", "used"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("http://c:4318/otlp/v1/traces", "http://c:4318/otlp/v1/traces"),
    ],
)
def test_an_endpoint_may_omit_the_standard_path(endpoint, used):
    assert _with_path(endpoint) == used


def test_of_a_request_id_128_characters_are_kept(traced):
    made = allowed()
    made.head = head(headers=[("x-request-id", "a" * 128 + "b" * 1000)])
    assert traced(made)["extproc.decision"].attributes["extproc.request_id"] == "a" * 128
