"""``sts`` and ``cache``: how credentials are obtained and kept."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from extproc.config.fields import Section, Url


class Sts(Section):
    """How STS is reached. Times in seconds."""

    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None  # default: the first target's
    endpoint_url: Url | None = None
    timeout: Annotated[float, Field(gt=0, le=60)] = 2.0
    deadline: Annotated[float, Field(gt=0, le=60)] = 5.0
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    max_waiting: Annotated[int, Field(ge=1, le=10_000)] = 256
    max_waiting_per_subject: PositiveInt = 4
    breaker_failures: PositiveInt = 5  # in a row
    breaker_seconds: Annotated[float, Field(gt=0, le=600)] = 1.0  # until one exchange may probe


class Cache(Section):
    """How credentials are kept. Times in seconds."""

    margin: Annotated[float, Field(ge=0, le=600)] = 60.0
    negative_ttl: Annotated[float, Field(gt=0, le=600)] = 30.0
    reuse: Literal["token", "identity"] = "token"
