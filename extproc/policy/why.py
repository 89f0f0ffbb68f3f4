"""Explain why a mapping or a ceiling matched or not: the decisive part of its condition, missing members.

The reasons contain names of members of claims and requests, never their values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from extproc.policy.cel import (
    BoolExpression,
    Budget,
    EvaluationError,
    MissingMemberError,
    Path,
    compile_bool,
)
from extproc.policy.cel.parts import Part, parts
from extproc.policy.matchers import VARIABLES, ClaimContains
from extproc.policy.search import Evaluated, restricts

_MOST = 120  # characters of an expression that are shown
_MOST_NAMES = 20  # names of members that are shown


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The result of a part. ``value`` is None if ``missing`` or ``error`` prevent a result."""

    value: bool | None
    missing: str | None = None
    error: str | None = None


def why(entry: Evaluated, variables: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the reasons for the result of a mapping or ceiling; none if its condition explains it.

    Args:
        entry: the result.
        variables: the variables of the evaluation.
    """
    if entry.foreign:
        return (f"for tokens of {', '.join(sorted(entry.rule.issuers or ()))} only",)
    if entry.inactive:
        return (entry.inactive,)
    if entry.lacking is not None:
        return _why_scopes(entry)
    matcher = entry.rule.matcher
    if isinstance(matcher, ClaimContains):
        reasons = _why_claim(matcher, entry, variables)
    else:
        assert isinstance(matcher, BoolExpression)  # noqa: S101 - there is no other kind
        whole = parts(matcher.source)
        if entry.error:
            reasons = _why_error(whole, variables)
        else:
            reasons = _why_condition(whole, variables, matched=entry.matched)
    return tuple(dict.fromkeys(reasons))  # each once


def _why_scopes(entry: Evaluated) -> tuple[str, ...]:
    """Return the reason where the condition applies and the scopes decide. Names configured scopes only."""
    if entry.lacking:
        needed = f"the token lacks scope {' '.join(entry.lacking)}"
        if restricts(entry.rule):
            return (f"its condition applies, and {needed}",)
        return (f"its condition applies, but {needed}: not this role; the mappings after it are tried",)
    if restricts(entry.rule):
        return (f"its condition applies, but the token has scope {entry.rule.require_scopes}",)
    return ()


def _why_claim(matcher: ClaimContains, entry: Evaluated, variables: Mapping[str, Any]) -> Iterator[str]:
    if entry.missing:
        yield _missing(entry.missing, variables)
    elif not entry.matched and not entry.error:
        yield f'claims.{matcher.claim} does not have "{matcher.value}"'


def _why_condition(part: Part, variables: Mapping[str, Any], *, matched: bool) -> Iterator[str]:
    verdict = _verdict(part, variables)
    if matched and verdict.value:
        # In "&&" all operands are true: none is decisive.
        if part.operator == "||":
            decisive = next(operand for operand in part.operands if _verdict(operand, variables).value)
            yield f"{_shown(decisive)} is true"
    elif part.operator:
        for operand in _decisive(part, variables):
            yield from _why_condition(operand, variables, matched=False)
    elif verdict.missing:
        yield _missing(verdict.missing, variables)
    elif verdict.error:
        yield f"{_shown(part)}: {verdict.error}"
    else:
        yield f"{_shown(part)} is false"


def _why_error(part: Part, variables: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts with an error, which outweighs parts that are false or missing."""
    verdict = _verdict(part, variables)
    if verdict.error:
        inner = [reason for operand in part.operands for reason in _why_error(operand, variables)]
        yield from inner or [f"{_shown(part)}: {verdict.error}"]


def _decisive(part: Part, variables: Mapping[str, Any]) -> list[Part]:
    """Return the operands that keep a chain from being true: all of ``||``, the false ones of ``&&``."""
    verdicts = [(operand, _verdict(operand, variables).value) for operand in part.operands]
    false = [operand for operand, value in verdicts if value is False]
    if part.operator == "&&" and false:
        return false
    return [operand for operand, value in verdicts if not value]


def _verdict(part: Part, variables: Mapping[str, Any]) -> _Verdict:
    try:
        return _Verdict(compile_bool(part.source, variables=VARIABLES).matches(variables, Budget()))
    except MissingMemberError as error:
        return _Verdict(None, missing=error.member)
    except (EvaluationError, ValueError) as error:  # an operand alone may not be a condition
        return _Verdict(None, error=str(error))


def _missing(member: str, variables: Mapping[str, Any]) -> str:
    """Return which member is missing and, for a nested one, which members are there."""
    *parents, _ = path = tuple(member.split("."))
    if path[0] in ("mcp", "request"):
        return f"{member} is missing: the request has none"
    there = _at(variables, tuple(parents)) if len(parents) > 1 else None
    beside = f" ({'.'.join(parents)} has {names(there)})" if isinstance(there, Mapping) else ""
    return f"{member} is missing{beside}"


def _at(value: Any, path: Path) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def names(members: Mapping[str, Any]) -> str:
    """Return the sorted names of members; a long list is cut."""
    shown = sorted(map(str, members))
    more = f" and {len(shown) - _MOST_NAMES} more" if len(shown) > _MOST_NAMES else ""
    return (", ".join(shown[:_MOST_NAMES]) + more) or "nothing"


def _shown(part: Part) -> str:
    return part.source if len(part.source) <= _MOST else f"{part.source[:_MOST]}…"


def unmet(source: str, variables: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what would have to be different for a condition to be true; of alternatives one suffices."""
    return tuple(dict.fromkeys(_unmet(parts(source), variables)))


def _unmet(part: Part, variables: Mapping[str, Any]) -> Iterator[str]:
    verdict = _verdict(part, variables)
    if verdict.value:
        return
    if part.operator == "&&":
        for operand in part.operands:
            yield from _unmet(operand, variables)
    elif part.operator:
        yield "; or ".join(" and ".join(_unmet(operand, variables)) for operand in part.operands)
    elif verdict.missing:
        yield _missing(verdict.missing, variables)
    else:
        yield f"{_shown(part)}: {verdict.error}" if verdict.error else f"{_shown(part)} is false"
