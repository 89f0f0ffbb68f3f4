"""Decisions: the live stream, filtered; and each decision with the steps that led to it."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from extproc.console.docs import of_reason
from extproc.console.events import Update, stream
from extproc.console.guard import RefusedError
from extproc.console.history import PAGE, Filter
from extproc.console.server_api import CallError
from extproc.console.steps import request_of, steps_of
from extproc.console.visit import Visit, one_of
from extproc.telemetry.observer import Verdict

OUTCOMES = (Verdict.ALLOW, Verdict.DENY, Verdict.REPLY, Verdict.ABANDONED)

_EVERY = 0.5  # seconds
_AT_ONCE = 100  # rows in one update: what came before them is in the pages below
_MINUTE = 60.0
_TEXT = ("user", "role", "tool", "target", "mapping", "reason")
_MAX_TEXT = 256


async def decisions(visit: Visit) -> Response:
    """Return a page of decisions, the newest first."""
    wanted = wanted_by(visit)
    before = visit.query("before")
    parts = visit.parts
    latest = parts.history.latest()
    rows = parts.history.page(wanted, before=_number(before) if before else None)
    query = query_of(visit)
    return visit.html(
        "decisions.html",
        rows=rows,
        query=query,
        filtered=not wanted.is_empty,
        live=not before and wanted.until is None,
        events=f"/events/decisions?{urlencode({**query, 'after': latest})}",
        older=f"/decisions?{urlencode({**query, 'before': rows[-1]['seq']})}" if len(rows) == PAGE else None,
        newest=f"/decisions?{urlencode(query)}" if before else None,
        reasons=[name for name, _ in parts.history.counts("reason", Filter(outcome="deny"))],
        targets=[target.name for target in parts.settings.targets],
        outcomes=OUTCOMES,
        begins=parts.history.begins(),
        problem=parts.follower.problem,
        missed=parts.follower.missed,
        sampled=parts.settings.audit.sample_allows,
    )


async def events(visit: Visit) -> Response:
    """Return new decisions as they come."""
    wanted, parts = wanted_by(visit), visit.parts

    async def updates(last: int) -> AsyncIterator[Update]:
        latest = parts.history.latest()
        if latest > last:
            rows = parts.history.after(wanted, last, size=_AT_ONCE)
            html = visit.render("decision_rows.html", rows=rows) if rows else ""
            yield Update(target="decisions", how="prepend", html=html, number=latest)

    return stream(visit, updates, every=_EVERY, first=_number(visit.query("after") or "0"))


async def decision(visit: Visit) -> Response:
    """Return one decision, and what the running policy says of its user now."""
    parts = visit.parts
    event = parts.history.find(visit.request.path_params["decision"])
    if event is None:
        raise RefusedError(
            404,
            "This decision is no longer in the console's memory. The audit log has it, by its request id.",
        )
    session, explanation, problem = await _again(visit, event)
    return visit.html(
        "decision.html",
        event=event,
        steps=steps_of(event, parts.settings),
        session=session,
        explanation=explanation,
        problem=problem,
        link=of_reason(event["reason"]) if event["reason"] else None,
        retry=_retry(event, session),
    )


async def _again(
    visit: Visit, event: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, str]:
    """Return a living session of the event's user, and the explanation of an equal request of it."""
    if not (event["issuer"] and event["subject"]):
        return None, None, ""
    try:
        session = await visit.parts.api.session_of(event["issuer"], event["subject"], event["jti"])
        if session is None:
            return None, None, ""
        reference = {"id": session["id"], "worker": session["worker"]}
        answer = await visit.parts.api.call(
            "Explain", {"session": reference, "request": request_of(event, visit.parts.settings)}
        )
    except CallError as error:
        return None, None, str(error)
    return session, answer["explanation"], ""


def _retry(event: Mapping[str, Any], session: Mapping[str, Any] | None) -> str:
    """Return the URL of "Try it", filled with the decision's request."""
    fields = {
        "http_method": event["method"],
        "path": event["path"],
        "target": event["target"],
        "mcp_method": event["mcp_method"],
        "tool": event["mcp_tool"],
        "session": f"{session['worker']}-{session['id']}" if session else None,
    }
    return f"/try?{urlencode({name: value for name, value in fields.items() if value})}"


def wanted_by(visit: Visit) -> Filter:
    """Return the filter in a URL. ``at`` is a minute in the viewer's zone, sent with its offset."""
    text = {name: visit.query(name)[:_MAX_TEXT] for name in _TEXT}
    at = _time(visit.query("at"))
    return Filter(
        **text,
        outcome=one_of(visit.query("outcome"), OUTCOMES),
        since=at,
        until=at + _MINUTE if at is not None else None,
    )


def query_of(visit: Visit) -> dict[str, str]:
    """Return the filter as parameters of a URL."""
    names = (*_TEXT, "outcome", "at")
    return {name: value[:_MAX_TEXT] for name in names if (value := visit.query(name))}


def _time(text: str) -> float | None:
    """Return a time with its offset from UTC, as ``2026-12-01T10:42+01:00``; without one it is UTC."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text if _has_offset(text) else f"{text}+00:00")
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise RefusedError(400, "at: must be a time like 2026-12-01T10:42+01:00.") from None


def _has_offset(text: str) -> bool:
    clock = text.partition("T")[2]
    return "+" in clock or "-" in clock or text.endswith("Z")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 15:  # noqa: PLR2004 - what SQLite has room for
        raise RefusedError(400, "The page's number is none.")
    return int(text)
