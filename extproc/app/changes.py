"""Changes of a configuration: those that a running process can apply, and those that need a restart."""

from typing import Any

from pydantic import BaseModel

from extproc import config
from extproc.config import ConfigError, Settings

_SECTIONS_AT_START = ("listen", "sts", "cache", "audit", "tracing")
_LIMITS_AT_START = ("sessions", "request_body_bytes")
_STS_REGION = "sts.region (the first target's)"
FIXED_AT_START = (*_SECTIONS_AT_START, *(f"limits.{name}" for name in _LIMITS_AT_START), _STS_REGION)
"""Every setting that ``applicable`` can name."""


def same(one: BaseModel, other: BaseModel) -> bool:
    """Return whether two sections are equal. Unlike ``==``, distinguishes ``1`` and ``true``."""
    return one.model_dump_json() == other.model_dump_json()


def applicable(wanted: Settings, at_start: Settings) -> tuple[Settings, list[str]]:
    """Return the wanted settings as far as a running process can apply them, and what needs a restart.

    Listeners and caches are built once. So is the STS client: with another endpoint, the credentials
    from the first one would have to be dropped too.

    Raises:
        ConfigError: the new settings do not fit the old ones that stay.
    """
    document: dict[str, Any] = wanted.model_dump()
    waiting: list[str] = []
    for name in _SECTIONS_AT_START:
        if not same(getattr(wanted, name), getattr(at_start, name)):
            document[name] = getattr(at_start, name).model_dump()
            waiting.append(name)
    for name in _LIMITS_AT_START:
        value = getattr(at_start.limits, name)
        if getattr(wanted.limits, name) != value:
            document["limits"][name] = value
            waiting.append(f"limits.{name}")
    if wanted.sts_region != at_start.sts_region and "sts" not in waiting:
        waiting.append(_STS_REGION)
    if not waiting:
        return wanted, []
    try:
        return config.validate(document), waiting
    except ConfigError as error:
        raise ConfigError(
            [f"{problem} (with {', '.join(waiting)} as before)" for problem in error.problems]
        ) from None
