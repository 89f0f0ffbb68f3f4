"""Traces over real OTLP/HTTP on loopback, from decisions of a real pipeline."""

import http.server
import inspect

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from extproc.request.stream import Stream
from extproc.telemetry.tracing import OtelTracer, otlp_provider
from support.envoy_messages import body_message, headers_message
from support.pipelines import TOKEN, Parts
from support.served import served

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector():
    received = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}", received


async def test_a_collector_receives_the_decision_and_its_exchange(collector):
    endpoint, received = collector
    tracer = OtelTracer(otlp_provider(endpoint))
    parts = Parts(tracer=tracer)
    stream = Stream(parts.pipeline, target_name=None)
    head = headers_message(headers=[("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"), ("cookie", "canary")])
    for message in (head, body_message(b"canary")):
        step = stream.receive(message)
        if inspect.isawaitable(step):
            await step
    tracer.close()
    assert {path for path, _ in received} == {"/v1/traces"}
    (resource,) = [span for _, export in received for span in export.resource_spans]
    named = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert named["service.name"] == "extproc"
    spans = {span.name: span for span in resource.scope_spans[0].spans}
    assert set(spans) == {"extproc.decision", "extproc.exchange"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert spans["extproc.exchange"].parent_span_id == spans["extproc.decision"].span_id
    everything = str(received)
    assert "canary" not in everything
    assert TOKEN not in everything


async def test_a_collector_that_is_gone_delays_nothing(unused_tcp_port_factory):
    tracer = OtelTracer(otlp_provider(f"http://127.0.0.1:{unused_tcp_port_factory()}"))
    parts = Parts(tracer=tracer)
    stream = Stream(parts.pipeline, target_name=None)
    assert stream.receive(headers_message(token=None)).last
    tracer.close()
