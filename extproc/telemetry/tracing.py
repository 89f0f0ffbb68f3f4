"""Traces by OpenTelemetry: a span for each decision, and one inside it for the exchange at STS.

Spans are made after a decision, from its record. Needs the extra ``otel``, and is imported only if traces
are on.
"""

import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from extproc.errors import Reason
from extproc.telemetry.event import LONG, SHORT
from extproc.telemetry.record import RequestRecord

_PATH = "/v1/traces"  # OTLP 1.x, "OTLP/HTTP Request"
_CLOSE_TIMEOUT = 3.0  # seconds
_NANO = 1_000_000_000


def otlp_provider(endpoint: str | None) -> TracerProvider:
    """Return a provider whose own thread sends batches to ``endpoint``, or as the OTEL_* variables say."""
    exporter = OTLPSpanExporter(endpoint=_with_path(endpoint) if endpoint else None)
    provider = TracerProvider(resource=_resource())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _with_path(endpoint: str) -> str:
    return endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _PATH


def _resource() -> Resource:
    environments = Resource.create()
    if str(environments.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return environments.merge(Resource({SERVICE_NAME: "extproc"}))
    return environments


class OtelTracer:
    """Makes spans from records."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("extproc")
        self._propagator = TraceContextTextMapPropagator()

    def trace(self, record: RequestRecord, *, ended_at: int) -> None:
        """Trace a decision; ``ended_at``: nanoseconds since the epoch."""
        offset = ended_at / _NANO - time.perf_counter()  # from the stages' clock to Unix time
        span = self._tracer.start_span(
            "extproc.decision",
            context=self._propagator.extract(_carrier(record)),
            kind=SpanKind.SERVER,
            attributes=_attributes(record),
            start_time=int((record.arrived + offset) * _NANO),
        )
        if record.reason and Reason(record.reason).outcome.status >= 500:  # noqa: PLR2004 - our fault or STS's
            span.set_status(Status(StatusCode.ERROR, record.reason))
        exchange = record.stages.get("exchange")
        if exchange is not None:
            began, ended = exchange
            inner = self._tracer.start_span(
                "extproc.exchange",
                context=set_span_in_context(span),
                kind=SpanKind.CLIENT,
                attributes={"rpc.service": "STS"},
                start_time=int((began + offset) * _NANO),
            )
            inner.end(int((ended + offset) * _NANO))
        span.end(ended_at)

    def close(self) -> None:
        """Send what is left, for a few seconds at most; the exporter alone would try for longer."""
        sending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        sending.start()
        sending.join(_CLOSE_TIMEOUT)


def _carrier(record: RequestRecord) -> dict[str, str]:
    return {name: value for name in ("traceparent", "tracestate") if (value := record.header(name))}


def _attributes(record: RequestRecord) -> Mapping[str, str | float]:
    head, identity, grant = record.head, record.identity, record.grant
    attributes: dict[str, str | float | None] = {
        "extproc.decision": record.decision,
        "extproc.reason": record.reason or None,
        "extproc.target": record.target,
        "extproc.cache": record.cache,
        "extproc.duration_us": round(record.own * 1e6),
        "extproc.mapping": grant.mapping if grant else None,
        "extproc.role_arn": grant.assumed_role_arn if grant else None,
        "extproc.access_key_id": record.access_key_id,
        "enduser.id": identity.subject[:SHORT] if identity else None,
    }
    if head is not None:
        attributes["http.request.method"] = head.method[:32]
        attributes["url.path"] = head.path[:LONG].partition("?")[0]
        attributes["extproc.request_id"] = record.request_id or ""
    return {name: value for name, value in attributes.items() if value is not None}
