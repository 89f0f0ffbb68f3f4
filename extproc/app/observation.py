"""Builds the audit log and the tracer from the settings."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import structlog

from extproc.config import Settings
from extproc.extras import how_to_install
from extproc.telemetry.audit import AuditLog
from extproc.telemetry.observer import Tracer
from extproc.telemetry.recent import RecentEvents
from extproc.telemetry.sink import FileSink, StreamSink

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_log = structlog.get_logger(__name__)


def build_audit(settings: Settings) -> AuditLog | None:
    """Return the audit log, not started; None if it is off.

    Raises:
        OSError: its file cannot be opened.
    """
    output = settings.audit.output
    if output is None:
        return None
    try:
        sink = StreamSink(sys.stdout.fileno()) if output == "-" else FileSink(Path(output))
    except OSError as error:
        raise OSError(f"audit.output {output}: {error.strerror}") from None
    # Only the admin API shows them.
    recent = RecentEvents() if settings.listen.admin_grpc is not None else None
    return AuditLog(sink=sink, max_queued=settings.audit.queue, recent=recent)


def build_tracer(settings: Settings, environment: Mapping[str, str] = os.environ) -> Tracer | None:
    """Return the tracer, if the settings or OpenTelemetry's environment variables name an endpoint.

    Raises:
        OSError: the settings name one, and the extra "otel" is not installed.
    """
    endpoint = settings.tracing.endpoint
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    wanted = endpoint or (
        any(environment.get(name) for name in _ENDPOINTS)
        and environment.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"
    )
    if disabled or not wanted:
        return None
    try:
        # Imported here: it is optional, and slow to import.
        from extproc.telemetry.tracing import OtelTracer, otlp_provider  # noqa: PLC0415
    except ImportError as error:
        missing = f"tracing needs {error.name}: {how_to_install('otel')}"
        if endpoint:
            raise OSError(missing) from None
        _log.warning("tracing_off", why=missing)
        return None
    return OtelTracer(otlp_provider(endpoint))
