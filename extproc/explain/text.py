"""An explanation as text in 80 columns, for people."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 80
_INDENT = 12  # columns, of what stands behind a stage's name


def printable(text: str) -> str:
    """Return a string without control characters: names come from tokens and requests."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines; ``facts`` are those of ``--json``.

    Words are never broken: an ARN that is longer than a line stays one word, to be copied.
    """
    for note in facts.get("notes", ()):
        yield from _wrapped("note", note)
    for stage in facts["stages"]:
        if stage["result"] != "not tried":
            shown = "FAIL" if stage["result"] == "fail" else stage["result"]
            # The cause of a failure comes once, at the end.
            detail = stage["detail"] if stage["result"] != "fail" else None
            yield from _wrapped(stage["stage"], f"{shown}: {detail}" if detail else shown)
            yield from _below(stage["stage"], facts)
    plain = [
        stage["stage"] for stage in facts["stages"] if stage["result"] == "not tried" and not stage["detail"]
    ]
    if plain:
        yield from _wrapped("not tried", ", ".join(plain))
    for stage in facts["stages"]:
        if stage["result"] == "not tried" and stage["detail"]:
            yield from _wrapped("not tried", f"{stage['stage']}: {stage['detail']}")
    yield ""
    yield from _outcome(facts)
    if "why_not" in facts:
        yield ""
        yield from _why_not(facts["why_not"])


def _below(name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    if name == "request":
        yield from _request(facts.get("request") or {})
    elif name == "token":
        yield from _steps(facts.get("verification", ()))
    elif name == "policy":
        yield from _rules(facts)


def _request(request: Mapping[str, Any]) -> Iterator[str]:
    if request:
        yield from _wrapped("", f"{request['method']} {request['path']}")
    if request.get("upstream"):
        yield from _wrapped("", f"to target {request['target']}: {request['upstream']}")
    if request.get("mcp_method"):
        yield from _wrapped("", f"MCP: {request['mcp_method']} {request['mcp_name'] or ''}".rstrip())


def _steps(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the verifier's steps, grouped by result."""
    verdicts = {True: "passed", False: "FAIL", None: "not tried"}
    names_by_verdict: dict[str, list[str]] = {}
    for step in steps:
        verdict = verdicts[step["passed"]]
        if step["passed"] is None and step["detail"]:
            verdict = step["detail"]
        names_by_verdict.setdefault(verdict, []).append(step["name"])
    for verdict, names in names_by_verdict.items():
        yield from _wrapped("", f"{verdict}: {', '.join(names)}", hang=2)


def _rules(facts: Mapping[str, Any]) -> Iterator[str]:
    for kind, entries in (("mapping", facts["evaluated"]), ("ceiling", facts.get("ceilings", ()))):
        for entry in entries:
            yield from _wrapped("", f"{kind} {entry['name']}: {_verdict(entry)}", hang=2)
            for reason in entry["why"]:
                yield from _wrapped("", f"  {reason}", hang=4)
    for kind in ("mapping", "ceiling"):
        names = [entry["name"] for entry in facts.get("not_tried", ()) if entry["kind"] == kind]
        if names:
            yield from _wrapped("", f"{kind}s not tried: {', '.join(names)}", hang=2)
    looked_at = [*facts["evaluated"], *facts.get("ceilings", ())]
    if any(entry["missing"] and entry["missing"].startswith("claims") for entry in looked_at):
        yield from _wrapped("", f"the token has the claims {', '.join(facts['claims'])}", hang=2)


def _verdict(entry: Mapping[str, Any]) -> str:
    if entry["error"]:
        return "ERROR" if entry["why"] else f"ERROR: {entry['error']}"
    if not entry["matched"]:
        return "SCOPE MISSING" if entry["missing_scopes"] else "no match"
    # The role comes at the end.
    applies = "APPLIES" if entry["missing"] else "MATCHES"
    return applies if entry["effect"].startswith("arn:") else f"{applies}: {entry['effect']}"


def _outcome(facts: Mapping[str, Any]) -> Iterator[str]:
    if facts["outcome"] == "deny":
        detail = f": {facts['detail']}" if facts["detail"] else ""
        if facts["told"]:
            yield from _wrapped("client reads", facts["told"])
        yield from _closing("denied", f"{facts['reason']} ({facts['status']}){detail}")
        if facts.get("scopes"):
            yield from _wrapped("  ask for", f"scope {' '.join(facts['scopes'])}")
    elif facts["role_arn"] is None:
        yield from _closing("answered", f"{facts['status']}, by extproc itself")
    else:
        yield from _closing("allowed", facts["role_arn"])
        yield from _wrapped("  mapping", facts["mapping"] or "none matches: the fallback role")
        if "chained_role_arn" in facts:
            yield from _wrapped("  chained", facts["chained_role_arn"])
        if facts["policy_arns"]:
            yield from _wrapped("  policies", ", ".join(facts["policy_arns"]))
        if facts["policy"]:
            # With spaces, where its lines can be broken.
            yield from _wrapped("  policy", json.dumps(json.loads(facts["policy"]), ensure_ascii=False))
        yield from _wrapped("  session", f"{facts['session_name']}, {facts['session_duration']} s")


def _closing(word: str, text: str) -> Iterator[str]:
    yield from _filled(text, first=f"{word}: ", further="  ")


def _wrapped(label: str, text: str, *, hang: int = 0) -> Iterator[str]:
    first = f"{label:<{_INDENT}}" if len(label) < _INDENT else f"{label} "
    yield from _filled(text, first=first, further=" " * (_INDENT + hang)) or [first.rstrip()]


def _filled(text: str, *, first: str, further: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _why_not(answer: Mapping[str, Any]) -> Iterator[str]:
    role = printable(answer["role"])
    if answer["note"]:
        yield from _wrapped("why not", f"{role}: {answer['note']}")
    for way in answer["ways"]:
        by = f"mapping {way['mapping']}" if way["mapping"] else "fallback_role_arn"
        yield from _wrapped("why not", f"{role} by {by}, if it were not so that:")
        for reason in (*way["needs"], *way["before"], *way["after"]):
            yield from _wrapped("", reason)
