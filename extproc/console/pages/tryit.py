"""Try it: what would this token, these claims or this session get, and why."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from extproc import strictjson
from extproc.console.guard import RefusedError
from extproc.console.pages.sessions import reference_of
from extproc.console.server_api import CallError
from extproc.console.steps import mcp_body
from extproc.console.visit import Visit

MCP_METHODS = (
    "tools/call",
    "tools/list",
    "initialize",
    "server/discover",
    "resources/read",
    "prompts/get",
    "ping",
)
_FIELDS = ("http_method", "path", "target", "mcp_method", "tool", "session", "arguments", "why_not")
_MAX_TEXT = 8192
_MAX_JSON = 64 * 1024  # characters; a token has at most 20,000


async def form(visit: Visit) -> Response:
    """Return the form, filled with what the URL says."""
    filled = {name: visit.query(name) for name in _FIELDS}
    return visit.html("try.html", filled=filled, **_choices(visit), explanation=None, problem="")


async def explain(visit: Visit) -> Response:
    """Return the explanation. Claims and tokens are passed on to the server, and kept nowhere."""
    explanation, problem = None, ""
    try:
        hoped = visit.form.get("why_not", "").strip()[:_MAX_TEXT] or None
        fields = {**_subject(visit.form), "request": _request(visit.form), "why_not": hoped}
        explanation = (await visit.parts.api.call("Explain", fields))["explanation"]
    except RefusedError as error:
        problem = str(error)
    except CallError as error:
        problem = f"The server says: {error}"
    if visit.wants_fragment:
        return visit.html("explanation_result.html", explanation=explanation, problem=problem)
    # Without scripts the form comes back, and without what was pasted.
    filled = {name: visit.form.get(name, "") for name in _FIELDS}
    return visit.html("try.html", filled=filled, **_choices(visit), explanation=explanation, problem=problem)


def _choices(visit: Visit) -> dict[str, Any]:
    targets = visit.parts.settings.targets
    return {
        "mcp_methods": MCP_METHODS,
        "targets": [target.name for target in targets],
        "hoped": [rule.name for rule in visit.parts.policy.rules if rule.role_arn],
        "path_hint": f"{targets[0].prefix or ''}/mcp",
    }


def _subject(form: Mapping[str, str]) -> dict[str, Any]:
    """Return the claims, the token or the session of the form."""
    pasted = form.get("pasted", "").strip()
    if form.get("session", ""):
        return {"session": reference_of(form["session"])}
    if not pasted:
        raise RefusedError(400, "Paste claims or a token, or start from a session.")
    if not pasted.startswith("{"):
        return {"unverified_token": pasted.removeprefix("Bearer ").strip()}
    return {"claims": _json(pasted, "claims")}


def _json(text: str, name: str) -> dict[str, Any]:
    """Return a JSON object that was pasted.

    Raises:
        RefusedError: it is none, or larger than one that a request can have; the server has better to do.
    """
    if len(text) > _MAX_JSON:
        raise RefusedError(400, f"{name}: at most {_MAX_JSON:,} characters.")
    try:
        return strictjson.loads_object(text.encode(errors="replace"))
    except strictjson.AmbiguousJSONError as error:
        raise RefusedError(400, f"{name}: {error}{_place(text)}.") from None


def _place(text: str) -> str:
    """Return where JSON cannot be read; an empty string if it can. The message quotes nothing of it."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f" at line {error.lineno}, column {error.colno}: {error.msg}"
    except (ValueError, RecursionError):
        pass
    return ""


def _request(form: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the request of the form; None if it has none, so that rules see none."""
    if form.get("without_request"):
        return None
    request: dict[str, Any] = {}
    for field, member in (("http_method", "method"), ("path", "path"), ("target", "target")):
        if value := form.get(field, "").strip()[:_MAX_TEXT]:
            request[member] = value
    method = form.get("mcp_method", "").strip()[:_MAX_TEXT]
    if method:
        arguments = _json(form.get("arguments", "").strip() or "{}", "arguments")
        request |= mcp_body(method, form.get("tool", "").strip()[:_MAX_TEXT], arguments)
        request["body"] = json.dumps(request["body"])  # a Struct would make doubles of integers
    return request or None
