"""``audit`` and ``tracing``: where decisions are recorded."""

from typing import Annotated

from pydantic import Field, PositiveInt

from extproc.config.fields import Section, Url


class Audit(Section):
    """The audit log. ``output``: "-" for standard output, the path of a file, or null for none."""

    output: Annotated[str, Field(min_length=1)] | None = "-"
    sample_allows: Annotated[float, Field(ge=0, le=1)] = 1.0  # denials are always logged
    queue: PositiveInt = 10_000  # maximum number of events that wait to be written


class Tracing(Section):
    """OpenTelemetry traces. Without an endpoint, the OTEL_* environment variables apply."""

    endpoint: Url | None = None
