"""Rate limits of two configurations, member by member. Whoever is counted less may do more."""

from collections.abc import Mapping
from typing import Any

from extproc.config import Settings
from extproc.config.rate_limits import RateLimitSettings, rate_of
from extproc.policy_diff.outcome import Kind

Members = Mapping[str, Mapping[str, Any]]


def rate_limits(before: Settings, after: Settings) -> tuple[Members, Members]:
    """Return the limits of both configurations by name, or by place if they have none."""
    one, other = (
        {limit.name or str(place): limit for place, limit in enumerate(settings.rate_limits)}
        for settings in (before, after)
    )
    # The default burst is the rate's number, and no difference of its own.
    bursts = {name for limits in (one, other) for name, limit in limits.items() if limit.burst is not None}
    return tuple(  # type: ignore[return-value]
        {name: _members(limit, with_burst=name in bursts) for name, limit in limits.items()}
        for limits in (one, other)
    )


def _members(limit: RateLimitSettings, *, with_burst: bool) -> dict[str, Any]:
    effective = rate_of(limit.rate, limit.burst).burst if limit.rate else None
    return {
        "preset": limit.preset,
        "targets": frozenset(limit.targets),
        "matcher": limit.matcher.strip() if limit.matcher else None,
        "per": frozenset(limit.per),
        "rate": limit.rate,
        "burst": effective if with_burst else None,
    }


def targets(before: Any, after: Any) -> Kind:
    """Judge the targets whose requests are counted; none named are all."""
    return Kind.WIDENED if after and (not before or before - after) else Kind.NARROWED


def matcher(before: Any, after: Any) -> Kind:
    """Judge which requests are counted."""
    if before is None or after is None:
        return Kind.NARROWED if after is None else Kind.WIDENED
    return Kind.CHANGED


def per(before: Any, after: Any) -> Kind:
    """Judge what has a count of its own: with more of them, each request shares its count with fewer."""
    return Kind.WIDENED if after > before else Kind.NARROWED if after < before else Kind.CHANGED


def rate(before: Any, after: Any) -> Kind:
    """Judge a rate; of equal ones the number, which is the default burst."""
    if before is None or after is None:
        return Kind.CHANGED
    one, other = rate_of(before, None), rate_of(after, None)
    more = other.count * one.seconds - one.count * other.seconds or other.count - one.count
    return Kind.WIDENED if more > 0 else Kind.NARROWED if more < 0 else Kind.CHANGED


def burst(before: Any, after: Any) -> Kind:
    """Judge how many may come at once."""
    if before is None or after is None:
        return Kind.CHANGED
    return Kind.WIDENED if after > before else Kind.NARROWED
