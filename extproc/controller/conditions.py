"""What users read of their objects: the conditions Accepted, ResolvedRefs and Programmed.

https://gateway-api.sigs.k8s.io/geps/gep-1364/ has their meaning.
"""

import datetime as dt
from dataclasses import dataclass

from extproc.controller.kinds import Object

ACCEPTED, RESOLVED, PROGRAMMED = "Accepted", "ResolvedRefs", "Programmed"
NOT_WRITTEN = "NotWritten"
_LONGEST = 32_768  # of a condition's message
_KEPT = "the last good configuration stays in use"


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition without its times."""

    type: str
    is_true: bool
    reason: str
    message: str


def unresolved(missing: str, *, kept: bool) -> list[Finding]:
    """Return the conditions of a source that refers to what is not there."""
    return [
        Finding(RESOLVED, False, "RefNotFound", missing),  # noqa: FBT003
        Finding(ACCEPTED, False, "RefNotFound", missing),  # noqa: FBT003
        _not_programmed(kept=kept),
    ]


def invalid(problems: list[str], *, kept: bool) -> list[Finding]:
    """Return the conditions of a source that is not valid, with the messages of ``extproc check``."""
    return [
        Finding(RESOLVED, True, "ResolvedRefs", ""),  # noqa: FBT003
        Finding(ACCEPTED, False, "Invalid", "\n".join(problems)),  # noqa: FBT003
        _not_programmed(kept=kept),
    ]


def valid(warnings: list[str], written: list[str], failure: tuple[str, str] | None) -> list[Finding]:
    """Return the conditions of a valid source. ``failure``: reason and message of what was not written."""
    programmed = (
        Finding(PROGRAMMED, False, *failure)  # noqa: FBT003
        if failure
        else Finding(PROGRAMMED, True, "Programmed", f"written: {', '.join(written)}")  # noqa: FBT003
    )
    return [
        Finding(RESOLVED, True, "ResolvedRefs", ""),  # noqa: FBT003
        Finding(ACCEPTED, True, "Accepted", "\n".join(warnings)),  # noqa: FBT003
        programmed,
    ]


def _not_programmed(*, kept: bool) -> Finding:
    message = _KEPT if kept else "nothing is written"
    return Finding(PROGRAMMED, False, "LastGoodKept" if kept else "NotAccepted", message)  # noqa: FBT003


def merged(findings: list[Finding], before: list[Object], generation: int | None) -> list[Object]:
    """Return the conditions with their times; those of unchanged ones stay."""
    known = {each.get("type"): each for each in before if isinstance(each, dict)}
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = []
    for each in findings:
        status = "True" if each.is_true else "False"
        old = known.get(each.type) or {}
        condition: Object = {
            "type": each.type,
            "status": status,
            "reason": each.reason,
            "message": each.message[:_LONGEST],
            "lastTransitionTime": old.get("lastTransitionTime", now) if old.get("status") == status else now,
        }
        if generation is not None:
            condition["observedGeneration"] = generation
        found.append(condition)
    return found


def same(conditions: list[Object], before: list[Object]) -> bool:
    """Return whether an object shows these conditions already, whatever others it has."""
    known = {each.get("type"): each for each in before if isinstance(each, dict)}
    return all(known.get(each["type"]) == each for each in conditions)
