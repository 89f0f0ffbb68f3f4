"""Cases for what decided none: claims and requests under which it would, by ``policy_diff.witness``.

The atoms of conditions get the results that the search found. Each case is decided before it is suggested:
one that does not make decisive what it should is left out.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from extproc.cases.coverage import Coverage, Half
from extproc.cases.document import Case, parse
from extproc.config import ConfigError
from extproc.errors import Denied
from extproc.explain.errors import BadInputError
from extproc.explain.explanation import Explanation
from extproc.explain.run import Environment, explain_claims
from extproc.policy.ceilings import Ceiling
from extproc.policy.mappings import Rule
from extproc.policy.reach.conditions import Other
from extproc.policy.reach.variables import Member, Result, State, Value, Variable
from extproc.policy.search import is_for
from extproc.policy_diff.entries import ONWARD, Effect, Signature, Signatures, scope_of
from extproc.policy_diff.witness import UndecidedError, domains, find
from extproc.values import Grant

_MOST_TRIES = 12  # mappings that are tried with a ceiling


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A case.

    Attributes:
        about: what it decides.
        document: its members, as YAML has them.
    """

    about: str
    document: dict[str, Any]


async def suggestions(environment: Environment, coverage: Coverage) -> list[Suggestion]:
    """Return cases that together decide as much as can be found of what decided none so far."""
    found: list[Suggestion] = []
    for entry, half in list(coverage.open()):
        if coverage.decided(entry) if half is None else half.decided:
            continue  # an earlier suggestion decides it too
        for document in _documents(environment, entry, half):
            name = f"suggested {len(found) + 1}"
            suggestion = await _tried(environment, coverage, entry, half, {"name": name, **document})
            if suggestion is not None:
                found.append(suggestion)
                break
    return found


def as_yaml(found: list[Suggestion]) -> str:
    """Return a file with the cases, each with a comment about what it decides."""
    blocks = []
    for suggestion in found:
        text = yaml.safe_dump([suggestion.document], sort_keys=False, allow_unicode=True)
        comment = " ".join(suggestion.about.split())
        blocks.append(f"  # {comment}\n" + "".join(f"  {line}\n" for line in text.splitlines()))
    return "# Read each case: what is decided now may not be what should be.\ncases:\n" + "".join(blocks)


async def _tried(
    environment: Environment,
    coverage: Coverage,
    entry: Rule | Ceiling | None,
    half: Half | None,
    document: dict[str, Any],
) -> Suggestion | None:
    try:
        case = _case(document, {"mapping": None})
        explanation = await explain_claims(environment, case.claims, case.request)
    except (BadInputError, ConfigError):  # no case can have these values
        return None
    state = coverage.state()
    coverage.note(explanation)
    expect = _expected(explanation)
    if expect is None or not (coverage.decided(entry) if half is None else half.decided):
        coverage.restore(state)
        return None
    kind = "mapping" if isinstance(entry, Rule) else "ceiling"
    about = f"{kind} {entry.name}" if entry is not None else "fallback_role_arn"
    return Suggestion(about + (f": {half.source}" if half else ""), {**document, "expect": expect})


def _case(document: Mapping[str, Any], expect: Mapping[str, Any]) -> Case:
    return parse(yaml.safe_dump({"cases": [{**document, "expect": dict(expect)}]}))[0]


def _expected(explanation: Explanation) -> dict[str, Any] | None:
    outcome, rule = explanation.outcome, explanation.decision and explanation.decision.rule
    if isinstance(outcome, Denied):
        return {"denied": outcome.reason.value} | ({"mapping": rule.name} if rule else {})
    if isinstance(outcome, Grant):
        return {"mapping": outcome.mapping, "role": outcome.assumed_role_arn}
    return None


def _documents(
    environment: Environment, entry: Rule | Ceiling | None, half: Half | None
) -> Iterator[dict[str, Any]]:
    """Yield claims and requests that may do."""
    for issuer in (each.issuer for each in environment.settings.issuers):
        if entry is not None and not is_for(entry, issuer):
            continue
        for needed in _requirements(environment, issuer, entry, half):
            found = None
            with contextlib.suppress(UndecidedError):
                found = find(needed, domains(needed))
            if found is not None:
                yield _document(found, issuer)


def _requirements(
    environment: Environment, issuer: str, entry: Rule | Ceiling | None, half: Half | None
) -> Iterator[dict[Signature, frozenset[Effect]]]:
    known = Signatures()
    rules = [each for each in environment.policy.rules if is_for(each, issuer)]
    if isinstance(entry, Ceiling):
        ceilings = [each for each in environment.policy.ceilings if is_for(each, issuer)]
        earlier = dict.fromkeys(map(known.of, ceilings[: ceilings.index(entry)]), ONWARD)
        for own in _own(known, entry, half):
            for place, rule in enumerate(rules[:_MOST_TRIES]):
                if rule.role_arn is not None:
                    first = dict.fromkeys(map(known.of, rules[:place]), ONWARD)
                    yield {known.of(rule): frozenset({Effect.APPLIES}), **first, **earlier, **own}
            none = dict.fromkeys(map(known.of, rules), frozenset({Effect.NOT}))
            yield {**none, **earlier, **own}
        return
    before = rules if entry is None else rules[: rules.index(entry)]
    onward = dict.fromkeys(map(known.of, before), ONWARD if entry else frozenset({Effect.NOT}))
    for own in _own(known, entry, half):
        if not onward.keys() & own.keys():
            yield {**own, **onward}


def _own(
    known: Signatures, entry: Rule | Ceiling | None, half: Half | None
) -> Iterator[dict[Signature, frozenset[Effect]]]:
    if entry is None:
        yield {}
        return
    applies = frozenset({Effect.APPLIES})
    own = known.of(entry)
    if half is None:
        yield {own: applies}
        return
    without = known.of(half.without)
    yield {own: applies, without: ONWARD}
    yield {own: ONWARD, without: applies}


def _document(found: Mapping[Variable, Value], issuer: str) -> dict[str, Any]:
    """Return claims and a request in which atoms have the results."""
    members: dict[str, Any] = {"claims": {"iss": issuer, "sub": "someone"}}
    scopes: list[str] = []
    agents: list[str] = []
    for variable, value in sorted(found.items(), key=lambda item: _depth(item[0])):
        scope = scope_of(variable)
        if scope is not None and value is Result.TRUE:
            scopes.append(scope)
        elif isinstance(variable, Other) and variable.path == ("agents",):
            agents += _agents(variable, value)
        elif isinstance(variable, Member) and not isinstance(value, State):
            assert isinstance(value, tuple)  # noqa: S101 - a constant
            _set(members, variable.path, value[1])
        elif isinstance(variable, Member) and value is State.OTHER:
            _set(members, variable.path, _value(variable.path, found))
    claims = members["claims"]
    for agent in reversed(list(dict.fromkeys(agents))):
        claims["act"] = {"sub": agent} | (
            {"act": claims["act"]} if isinstance(claims.get("act"), dict) else {}
        )
    if scopes:
        claims["scope"] = " ".join(scopes)
    document: dict[str, Any] = {"claims": claims}
    for name in ("mcp", "request"):
        if isinstance(members.get(name), dict) and members[name]:
            document[name] = members[name]
    return document


def _depth(variable: Variable) -> int:
    return len(variable.path or ())


def _agents(atom: Other, result: Value) -> list[str]:
    kind, constant = atom.test or ("", None)
    if kind == "in" and result is Result.TRUE:
        return [str(constant)]
    return ["some-agent"] if kind == "empty" and result is Result.FALSE else []


def _value(path: tuple[str, ...], found: Mapping[Variable, Value]) -> Any:
    """Return a value for a member that passes and fails the tests as found."""
    tests = [
        (atom.test, value is Result.TRUE)
        for atom, value in found.items()
        if isinstance(atom, Other) and atom.path == path and atom.test is not None
    ]
    kinds = {test[0] for test, _ in tests}
    if kinds & {"in", "empty"}:
        return [test[1] for test, holds in tests if test[0] == "in" and holds]
    if kinds & {"lt", "le"}:
        return _number(tests)
    if kinds:
        wanted = {test[0]: str(test[1]) for test, holds in tests if holds}
        return "".join(wanted.get(kind, "") for kind in ("startsWith", "contains", "endsWith")) or "other"
    return {"sub": "some-agent"} if path == ("claims", "act") else "other"


def _number(tests: list[tuple[tuple[str, Any], bool]]) -> Any:
    constants = [test[1] for test, _ in tests]
    for number in [each + more for each in constants for more in (0, 1, -1, 0.5)]:
        if all((number < c if kind == "lt" else number <= c) is holds for (kind, c), holds in tests):
            return number
    return constants[0]


def _set(members: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    holder = members
    for name in path[:-1]:
        inner = holder.get(name)
        if not isinstance(inner, dict):
            inner = holder[name] = {}
        holder = inner
    holder[path[-1]] = value
