"""Overview: is it well, what does it do, what needs looking after."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response

from extproc.console import rates
from extproc.console.events import Update, stream
from extproc.console.history import Filter
from extproc.console.plots import Plot, plot
from extproc.console.server_api import CallError
from extproc.console.visit import Visit

_EVERY = 2.0  # seconds
_LONGEST, _SHORTEST = rates.EVERY * rates.KEPT, 120.0  # seconds that a plot shows
_RECENT = 900.0  # seconds: refusals that are counted
_REASONS = 8


async def overview(visit: Visit) -> Response:
    """Return the page."""
    return visit.html("overview.html", **await _facts(visit))


async def events(visit: Visit) -> Response:
    """Return the page's changes as they come."""

    async def updates(_last: int) -> AsyncIterator[Update]:
        html = visit.render("overview_live.html", **await _facts(visit))
        yield Update(target="overview", how="replace", html=html)

    return stream(visit, updates, every=_EVERY)


async def _facts(visit: Visit) -> dict[str, Any]:
    parts = visit.parts
    try:
        workers, problem = await parts.api.workers(), ""
    except CallError as error:
        workers, problem = [], str(error)
    now = parts.clock()
    refused = Filter(outcome="deny", since=now - _RECENT)
    return {
        "workers": workers,
        "problem": problem,
        "ready": bool(workers) and any(worker["ready"] for worker in workers),
        "degraded": _degraded(workers),
        "key_sets": next((worker["key_sets"] for worker in workers if worker["key_sets"]), []),
        "plots": _plots(visit),
        "reasons": parts.history.counts("reason", refused, size=_REASONS),
        "last_point": next(iter(reversed(parts.rates.points())), None),
        "decisions_problem": parts.follower.problem,
    }


def _degraded(workers: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong, with the worker's number where there are several."""
    several = len(workers) > 1
    return list(
        dict.fromkeys(
            f"worker {worker['worker']}: {what}" if several else what
            for worker in workers
            for what in (*worker["reasons"], *worker["degraded"])
        )
    )


def _plots(visit: Visit) -> list[Plot]:
    points = visit.parts.rates.points()
    times = [point.at for point in points]
    span = min(max(times[-1] - times[0], _SHORTEST), _LONGEST) if times else _SHORTEST
    return [
        plot(
            "Requests",
            times,
            [
                ("allowed", "allow", rates.values(points, "allowed")),
                ("denied", "deny", rates.values(points, "denied")),
            ],
            unit="/s",
            span=span,
        ),
        plot(
            "Own time",
            times,
            [
                ("median", "allow", rates.values(points, "median")),
                ("p99", "accent", rates.values(points, "slowest")),
            ],
            unit="s",
            span=span,
        ),
        plot(
            "STS exchanges",
            times,
            [("exchanges", "accent", rates.values(points, "exchanges"))],
            unit="/s",
            span=span,
        ),
    ]
