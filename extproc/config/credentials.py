"""``sts`` and ``cache``: how credentials are obtained and kept."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from extproc.config.fields import Section, Url, is_plaintext
from extproc.config.shared_store import SharedStore


def _region(value: str) -> str:
    if value.startswith("fips-") or value.endswith(("-fips", "-global")):
        raise ValueError(
            "names an endpoint and no region: set the region, and the endpoint in sts.endpoint_url, "
            "like https://sts-fips.us-east-1.amazonaws.com"
        )
    return value


Region = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$"), AfterValidator(_region)]


class StsSettings(Section):
    """How STS is called. Times in seconds."""

    region: Region | None = None  # default: the first target's
    endpoint_url: Url | None = None
    insecure_plaintext: bool = False  # http:// to another machine
    timeout: Annotated[float, Field(gt=0, le=60)] = 2.0
    deadline: Annotated[float, Field(gt=0, le=60)] = 5.0
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    max_waiting: Annotated[int, Field(ge=1, le=10_000)] = 256
    max_waiting_per_subject: PositiveInt = 4
    breaker_failures: PositiveInt = 5  # in a row
    breaker_seconds: Annotated[float, Field(gt=0, le=600)] = 1.0  # before one exchange may probe

    @model_validator(mode="after")
    def _secrets_stay_secret(self) -> "StsSettings":
        if is_plaintext(self.endpoint_url) and not self.insecure_plaintext:
            raise ValueError(
                "endpoint_url: users' tokens would go, and their credentials come back, over the network in "
                "clear text; use https://, or insecure_plaintext: true only where the network is private"
            )
        return self


class Cache(Section):
    """How credentials are kept. Times in seconds."""

    margin: Annotated[float, Field(ge=0, le=600)] = 60.0
    negative_ttl: Annotated[float, Field(gt=0, le=600)] = 30.0
    reuse: Literal["token", "identity"] = "token"
    shared: SharedStore | None = None
