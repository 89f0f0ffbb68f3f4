"""Sessions: who has which role until when, what is revoked; ending sessions, and taking revocations back."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from extproc.console.acts import conditions_of
from extproc.console.deny_list import names
from extproc.console.events import Update, stream
from extproc.console.guard import RefusedError
from extproc.console.history import Filter
from extproc.console.server_api import CallError
from extproc.console.visit import Visit

PAGE = 100
"""Sessions of a page."""

_EVERY = 10.0  # seconds: a list of 10,000 sessions costs the server a tenth of a second
_CONDITIONS = ("issuer", "subject", "jti", "role_arn")
_MAX_TEXT = 2048
_COUNTED = 1000  # sessions that a revocation is said to end; more are "more than"
_OFFERED, _SIMILAR = 100, 8  # users that the filter completes, and that it offers where there is none

DURATIONS = {"0": "not at all", "3600": "1 hour", "28800": "8 hours", "86400": "24 hours", "604800": "7 days"}
"""For how many seconds a revocation may refuse, and how that is shown."""


async def sessions(visit: Visit) -> Response:
    """Return a page of sessions, and what is revoked."""
    values = await _listed(visit)
    return visit.html(
        "sessions.html",
        **values,
        roles=sorted({role_arn for _, role_arn in visit.parts.settings.role_arns()}),
        issuers=[entry.issuer for entry in visit.parts.settings.issuers],
        users=_users(visit, "", _OFFERED),
        events=f"/events/sessions?{visit.request.url.query}",
        acts=list(visit.parts.acts.recent)[:20],
    )


async def events(visit: Visit) -> Response:
    """Return the page's sessions now and then."""

    async def updates(_last: int) -> AsyncIterator[Update]:
        html = visit.render("session_rows.html", **await _listed(visit))
        yield Update(target="sessions", how="replace", html=html)

    return stream(visit, updates, every=_EVERY)


async def session(visit: Visit) -> Response:
    """Return one session: its credentials, and its claims for those who may see them."""
    reference = reference_of(visit.request.path_params["session"])
    try:
        answer = await visit.parts.api.call("GetSession", {"session": reference})
    except CallError as error:
        raise RefusedError(404 if error.refused else 502, f"The server says: {error}.") from None
    found = answer["session"]
    return visit.html(
        "session.html",
        session=found,
        claims=answer.get("claims", {}) if visit.session.user.may_see_claims else None,
        rows=visit.parts.history.page(Filter(user=found["subject"]), size=10),
        of_user=urlencode({"issuer": found["issuer"], "subject": found["subject"]}),
        of_token=urlencode({"issuer": found["issuer"], "subject": found["subject"], "jti": found["jti"]}),
    )


async def confirm(visit: Visit) -> Response:
    """Return the question whether to end sessions, with what that would end."""
    conditions = conditions_by(visit.request.query_params)
    try:
        found = await visit.parts.api.call("ListSessions", {**conditions, "page_size": _COUNTED})
    except CallError as error:
        raise _failed(error) from None
    return visit.html(
        "revoke.html",
        conditions=conditions,
        sessions=found["sessions"],
        more=bool(found["next_page_token"]),
        names_you=names(conditions, visit.session.user),
        durations=DURATIONS,
    )


async def revoke(visit: Visit) -> Response:
    """End sessions, and refuse their users for the chosen time."""
    conditions = conditions_by(visit.form)
    seconds = visit.form.get("seconds", "0")
    if seconds not in DURATIONS:
        raise RefusedError(400, "seconds: is none of the choices.")
    fields = {**conditions, "duration": "0s" if "role_arn" in conditions else f"{seconds}s"}
    visit.act("revoke", outcome="begun", **conditions_of(conditions), seconds=seconds)
    try:
        answer = await visit.parts.api.call("Revoke", fields)
    except CallError as error:
        visit.act("revoke", outcome="failed", **conditions_of(conditions))
        raise _failed(error) from None
    visit.act(
        "revoke",
        outcome="done",
        **conditions_of(conditions),
        sessions=answer["sessions"],
        credentials=answer["credentials"],
        refused_until=answer.get("refused_until"),
    )
    return visit.html("revoked.html", answer=answer, conditions=conditions)


async def lift(visit: Visit) -> Response:
    """Take a revocation back."""
    conditions = conditions_by(visit.form)
    if "role_arn" in conditions:
        raise RefusedError(400, "role_arn: is no condition of what is refused.")
    visit.act("lift", outcome="begun", **conditions_of(conditions))
    try:
        answer = await visit.parts.api.call("LiftRevocation", conditions)
    except CallError as error:
        visit.act("lift", outcome="failed", **conditions_of(conditions))
        raise _failed(error) from None
    outcome = "done" if answer["lifted"] else "refused"
    visit.act("lift", outcome=outcome, **conditions_of(conditions))
    return visit.redirect("/sessions#revocations")


async def _listed(visit: Visit) -> dict[str, Any]:
    conditions = {name: value[:_MAX_TEXT] for name in _CONDITIONS if (value := visit.query(name))}
    fields = {**conditions, "page_size": PAGE, "page_token": visit.query("page")}
    values: dict[str, Any] = {
        "query": conditions,
        "sessions": [],
        "revocations": [],
        "similar": [],
        "total": 0,
        "next_page": None,
        "problem": "",
    }
    api = visit.parts.api
    try:
        answer = await api.call("ListSessions", fields)
        values["sessions"] = answer["sessions"]
        values["revocations"] = (await api.call("ListRevocations"))["revocations"]
        values["total"] = sum(worker["sessions"] for worker in await api.workers())
    except CallError as error:
        values["problem"] = str(error)
        return values
    if not answer["sessions"] and "subject" in conditions:
        values["similar"] = _users(visit, conditions["subject"], _SIMILAR)
    if token := answer["next_page_token"]:
        values["next_page"] = f"/sessions?{urlencode({**conditions, 'page': token})}"
    return values


def _users(visit: Visit, part: str, size: int) -> list[str]:
    """Return the users of recent decisions whose name has this part: the server compares whole names only."""
    return [name for name, _ in visit.parts.history.counts("subject", Filter(user=part), size=size) if name]


def reference_of(text: str) -> dict[str, Any]:
    """Return the session that ``WORKER-ID`` names."""
    worker, _, session_id = text.partition("-")
    if not (worker.isdecimal() and len(worker) < 6 and session_id.isalnum()):  # noqa: PLR2004 - there are at most 64
        raise RefusedError(404, "There is no such session.")
    return {"id": session_id, "worker": int(worker)}


def conditions_by(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the conditions of a revocation; one that is empty counts as not given.

    Raises:
        RefusedError: there is none.
    """
    conditions = {name: value for name in _CONDITIONS if (value := fields.get(name, ""))}
    if not conditions:
        raise RefusedError(400, "At least one condition is required: issuer, subject, token id or role.")
    if any(len(value) > _MAX_TEXT for value in conditions.values()):
        raise RefusedError(400, "A condition is too long.")
    return conditions


def _failed(error: CallError) -> RefusedError:
    return RefusedError(400 if error.refused else 502, f"The server says: {error}.")
