"""``rate_limits``: how often users may call."""

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from extproc.config.fields import Matcher, RuleName, Section, repeated
from extproc.fairness.token_buckets import Rate

_PERIODS = {"second": 1, "minute": 60, "hour": 3600}
_RATE = re.compile(r"([1-9][0-9]{0,6})/(second|minute|hour)")

Per = Literal["subject", "mapping", "tool"]


def _rate(value: str) -> str:
    if not _RATE.fullmatch(value):
        raise ValueError("must be a rate like 30/minute; /second and /hour are possible too")
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class _Preset(NamedTuple):
    rate: str
    burst: int
    per: list[Per]


PRESETS: dict[str, list[_Preset]] = {
    # AWS MCP Server takes 3 requests a second of an account in a Region, and answers 429 beyond that
    # (https://docs.aws.amazon.com/agent-toolkit/latest/userguide/aws-mcp-limits.html). A user gets a third.
    "aws-mcp": [_Preset("3/second", 9, []), _Preset("1/second", 6, ["subject"])],
}


class RateLimitSettings(Section):
    """One limit, or a preset of several."""

    name: RuleName | None = None
    preset: Literal["aws-mcp"] | None = None
    targets: list[str] = []  # default: all
    matcher: Matcher | None = None
    per: Annotated[list[Per], BeforeValidator(_listed)] = []  # default: one bucket for all
    rate: Annotated[str, AfterValidator(_rate)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None  # default: the rate's number

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "RateLimitSettings":
        if (self.preset is None) == (self.rate is None):
            raise ValueError("exactly one of rate and preset is required")
        if self.preset is not None and (self.per or self.burst or self.matcher):
            raise ValueError("a preset has its own per, burst and matcher")
        if repeated(self.per):
            raise ValueError("per: names something twice")
        return self


def rate_of(text: str, burst: int | None) -> Rate:
    """Return a rate like ``30/minute``."""
    count, _, period = text.partition("/")
    return Rate(int(count), _PERIODS[period], burst or int(count))
