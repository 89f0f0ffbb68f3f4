"""``audit`` and ``tracing``: where decisions are told."""

from typing import Annotated

from pydantic import Field, PositiveInt

from extproc.config.fields import Section, Url


class Audit(Section):
    """The audit log. ``output``: "-" for standard output, the path of a file, or null for none."""

    output: Annotated[str, Field(min_length=1)] | None = "-"
    sample_allows: Annotated[float, Field(ge=0, le=1)] = 1.0  # the share of allows; denials always
    queue: PositiveInt = 10_000  # events that may wait to be written


class Tracing(Section):
    """OpenTelemetry. Without an endpoint here, the OTEL_* environment decides."""

    endpoint: Url | None = None
