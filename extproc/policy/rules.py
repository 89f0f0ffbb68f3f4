"""From an identity and a request to one grant: role mappings in order of priority, then the fallback role.

The semantics are those of ToolHive's RFC THV-0033: a mapping has either ``claim``, short for
"this value is in the role claim", or a CEL ``matcher``; the lowest priority number wins,
no number comes last, ties go by order; the first match ends the search. Deny rules come
before all others. The first ceiling that matches may lower the result.

A restriction must not be open where a claim is missing: a deny rule or a ceiling that reads a missing
claim applies. Elsewhere a missing claim is "no match"; a missing member of the request always is.

If only scopes keep a mapping from matching, the search continues. If it ends without a role, or a deny
rule would be lifted by scopes, the denial names these scopes (``scope_missing``), but only if the client
would get a role with them: a login that cannot help is not requested.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extproc.errors import Denied, Reason
from extproc.policy import tools
from extproc.policy.agents import ActError, agents_of
from extproc.policy.ceilings import Ceiling
from extproc.policy.cel import (
    DEFAULT_COST_LIMIT,
    Budget,
    EvaluationError,
    Path,
    StringExpression,
    to_cel,
)
from extproc.policy.claims_schema import Schema, mismatch
from extproc.policy.inputs import NO_INPUTS, Inputs, read_members
from extproc.policy.mappings import Rule
from extproc.policy.matchers import OF_THE_TOKEN, ClaimContains, cel_matcher
from extproc.policy.search import Evaluated, Subject, by_priority, first_match, is_for, why_inactive
from extproc.policy.session_name import InvalidNameError, session_name, strict_session_name
from extproc.policy.session_policy import UNRESTRICTED
from extproc.policy.unmatched import unmatched
from extproc.policy.validity import Periods, ReasonSource
from extproc.scopes import granted_scopes, missing_text
from extproc.values import ChainedRole, Grant, Identity

__all__ = ["ClaimContains", "Decision", "Policy", "Rule", "cel_matcher"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The result for one identity and request.

    Attributes:
        outcome: the grant or the denial.
        evaluated: the mappings that were evaluated.
        ceilings: the ceilings that were evaluated.
        rule: the mapping that is used, after the ceiling; None for the fallback role or no role.
        cost: units spent, the same on every machine.
    """

    outcome: Grant | Denied
    evaluated: tuple[Evaluated, ...]
    ceilings: tuple[Evaluated, ...] = ()
    rule: Rule | None = None
    cost: int = 0


_CEILING = "What an agent may do for your account here does not include this."


def _client_text(reads: frozenset[Path]) -> str:
    """Return the client's text for a deny rule. It says what the rule is about, but not what is in it."""
    if any(path[:2] == ("mcp", "tool") for path in reads):
        return "A rule of this gateway does not let your account use this tool."
    if any(path[0] not in OF_THE_TOKEN for path in reads):
        return "A rule of this gateway does not let your account make this request."
    return "A rule of this gateway denies your account."


def _message(ceiling: Ceiling | None) -> str:
    return ceiling.message if ceiling is not None else ""


class Policy:
    """The role mappings and ceilings of one configuration. ``further_reads``: what rate limits read."""

    def __init__(
        self,
        *,
        rules: list[Rule],
        fallback_role_arn: str | None,
        session_name_claim: str,
        session_duration: int,
        ceilings: Sequence[Ceiling] = (),
        session_name: StringExpression | None = None,
        reject_session_names: bool = False,
        claims_schema: Schema | None = None,
        cost_limit: int = DEFAULT_COST_LIMIT,
        reason_source: ReasonSource | None = None,
        further_reads: Iterable[Path] = (),
    ) -> None:
        self.rules = sorted(rules, key=by_priority)
        self.ceilings = sorted(ceilings, key=by_priority)
        self.fallback_role_arn = fallback_role_arn
        self._order = {rule.name: position for position, rule in enumerate(self.rules)}
        self._session_name_claim = session_name_claim
        self.session_name = session_name
        self._reject_session_names = reject_session_names
        self._session_duration = session_duration
        self._claims_schema = claims_schema
        self.cost_limit = cost_limit
        reads = [rule.reads for rule in self.rules] + [ceiling.matcher.reads for ceiling in self.ceilings]
        paths = {path for member in reads for path in member} | set(further_reads)
        # Sorted: the order of the values in the key of a decision.
        entries: list[Rule | Ceiling] = [*self.rules, *self.ceilings]
        self._requires_scopes = any(entry.require_scopes for entry in entries)
        self.request_reads = tuple(sorted(path for path in paths if path[0] not in OF_THE_TOKEN))
        named_by = session_name.reads if session_name else frozenset()
        self._reads_agents = any(path[0] == "agents" for path in (*paths, *named_by))
        self.reads_request = any(path[0] == "request" for path in self.request_reads)
        self.periods = Periods(rule.validity for rule in self.rules)
        with_reason = any(rule.break_glass for rule in self.rules)
        self.reason_source = reason_source if with_reason else None
        argument = self.reason_source.argument if self.reason_source else None
        self.reads_mcp = argument is not None or any(path[0] == "mcp" for path in self.request_reads)
        self.counts_always = not self.periods and not with_reason
        self.reads_nothing = self.counts_always and not self.request_reads
        self.reads_tool = tools.is_read(self.request_reads)

    def is_required(self, path: Path) -> bool:
        """Return whether the schema requires a member of a claim, as in ``claims.act.sub``."""
        members = self._claims_schema or {}
        for name in path[1:]:
            declared = members.get(name)
            if declared is None or declared.optional:
                return False
            members = declared.members
        return True

    def cost(self, size: int) -> int:
        """Return an upper estimate of the cost of a decision in units if lists have ``size`` elements."""
        entries: list[Rule | Ceiling] = [*self.rules, *self.ceilings]
        lists = {path for entry in entries for path in entry.matcher.reads}
        names = self.session_name.cost(size) if self.session_name else 0
        return names + sum(1 + entry.matcher.cost(size) for entry in entries) + size * max(len(lists), 1)

    def decide(self, identity: Identity, inputs: Inputs = NO_INPUTS) -> Decision:
        """Evaluate the rules in order until one matches or cannot be evaluated. Pure; takes no clock."""
        budget = Budget(self.cost_limit)
        return dataclasses.replace(self._decide(identity, inputs, budget), cost=budget.spent)

    def _decide(self, identity: Identity, inputs: Inputs, budget: Budget) -> Decision:
        if self._claims_schema is not None:
            problem = mismatch(self._claims_schema, identity.claims)
            if problem is not None:
                return Decision(Denied(Reason.CLAIMS_SHAPE, problem), ())
        try:
            variables = self.variables(identity, inputs, budget)
        except EvaluationError as error:
            return Decision(Denied(Reason.POLICY_ERROR, f"claims: {error}"), ())
        granted = frozenset(granted_scopes(identity.claims)) if self._requires_scopes else frozenset()
        return self._decide_role(Subject(identity, granted, variables, budget, inputs.now, inputs.reason))

    def _decide_role(self, subject: Subject) -> Decision:
        found = first_match(self.rules, subject)
        evaluated, rule = found.evaluated, found.entry
        if found.error is not None:
            # Continuing would let a broken rule grant a later and perhaps stronger role.
            return Decision(Denied(Reason.POLICY_ERROR, f"mapping {found.error}"), evaluated)
        if rule is not None and rule.role_arn is None:
            missing = evaluated[-1].missing
            why = f", since {missing} is missing" if missing else ""
            detail = f"mapping {rule.name} denies{why}"
            denied = Denied(
                Reason.POLICY_DENIED, detail, client_text=_client_text(rule.reads), message=rule.message
            )
            return Decision(denied, evaluated, (), rule)
        if rule is None and not found.but_for_scopes:
            if self.fallback_role_arn is None:
                return Decision(Denied(Reason.NO_ROLE, unmatched(evaluated)), evaluated)
        elif rule is None:
            # Before the fallback role, which is for tokens that no mapping matches.
            rule = found.but_for_scopes[0]
        decision = self._decide_grant(subject, rule, evaluated)
        if isinstance(decision.outcome, Denied):
            return decision  # more scopes would not help
        needed = (*found.demanding, *(entry for entry in (rule, decision.rule) if entry is not None))
        refusal = _step_up(needed, subject.scopes)
        return decision if refusal is None else dataclasses.replace(decision, outcome=refusal)

    def _decide_grant(
        self, subject: Subject, rule: Rule | None, evaluated: tuple[Evaluated, ...]
    ) -> Decision:
        """Apply the ceilings to a mapping or the fallback role, as if the token had its scopes."""
        identity, variables, budget = subject.identity, subject.variables, subject.budget
        found = first_match(self.ceilings, subject)
        ceiling, looked_at = found.entry, found.evaluated
        if found.error is not None:
            return Decision(Denied(Reason.POLICY_ERROR, f"ceiling {found.error}"), evaluated, looked_at)
        matched = rule
        rule = self._lowered(rule, ceiling)
        if rule is not None and not is_for(rule, identity.issuer):
            # A ceiling must not move a user to a role for another issuer.
            detail = f"mapping {rule.name}, to which the ceiling lowers, is for other issuers"
            denied = Denied(Reason.POLICY_DENIED, detail, client_text=_CEILING, message=_message(ceiling))
            return Decision(denied, evaluated, looked_at, rule)
        inactive = why_inactive(rule, subject) if rule is not None else ""
        if inactive:
            # As it must not move a user to a role that is not given now.
            detail = f"mapping {rule.name if rule else ''}, to which the ceiling lowers: {inactive}"
            denied = Denied(Reason.POLICY_DENIED, detail, client_text=_CEILING, message=_message(ceiling))
            return Decision(denied, evaluated, looked_at, rule)
        try:
            grant = self._granted(identity, rule, ceiling, variables, budget)
            grant = _bounded(grant, (matched, rule), subject.reason)
        except Denied as refused:
            return Decision(refused, evaluated, looked_at, rule)
        return Decision(grant, evaluated, looked_at, rule)

    def variables(self, identity: Identity, inputs: Inputs, budget: Budget) -> dict[str, Any]:
        """Return the variables as CEL values; of ``request`` and ``mcp`` only members that some rule reads.

        Raises:
            EvaluationError: a value that CEL does not have, or a spent budget.
        """
        plain = self.plain_variables(identity, inputs)
        return {name: to_cel(value, budget) for name, value in plain.items()}

    def plain_variables(self, identity: Identity, inputs: Inputs) -> dict[str, Any]:
        """Return the variables as Python values; raises ``EvaluationError`` as ``variables`` does."""
        plain: dict[str, Any] = {"claims": dict(identity.claims)}
        if self._reads_agents:
            try:
                plain["agents"] = agents_of(identity.claims)
            except ActError as error:
                raise EvaluationError(str(error)) from None
        for variable, members in (("request", inputs.request), ("mcp", inputs.mcp)):
            paths = {path[1:] for path in self.request_reads if path[0] == variable}
            plain[variable] = read_members(members, paths)
        return plain

    def _lowered(self, rule: Rule | None, ceiling: Ceiling | None) -> Rule | None:
        """Return the later of the mapping and the ceiling's mapping; the fallback role is always the last."""
        if rule is None or ceiling is None or ceiling.max_mapping is None:
            return rule
        return self.rules[max(self._order[rule.name], self._order[ceiling.max_mapping])]

    def _granted(
        self,
        identity: Identity,
        rule: Rule | None,
        ceiling: Ceiling | None,
        variables: Mapping[str, Any],
        budget: Budget,
    ) -> Grant:
        restrictions = rule.session_policy if rule else UNRESTRICTED
        if ceiling is not None and ceiling.session_policy:
            if restrictions:
                raise Denied(
                    Reason.POLICY_CONFLICT,
                    f"mapping {rule.name if rule else ''} and ceiling {ceiling.name} "
                    "both have session policies, which STS would unite",
                    client_text=_CEILING,
                    message=ceiling.message,
                )
            restrictions = ceiling.session_policy
        role_arn = rule.role_arn if rule else self.fallback_role_arn
        if role_arn is None:  # pragma: no cover - deny rules come first and end the search
            raise Denied(Reason.POLICY_DENIED, "the mapping that counts denies")
        chain = _chain(rule, variables, budget) if rule else None
        if chain is not None:
            # The chained session signs. The first stays unrestricted: it must be able to assume the second.
            chain = dataclasses.replace(
                chain, policy_arns=restrictions.policy_arns, policy=restrictions.policy
            )
            restrictions = UNRESTRICTED
        return Grant(
            role_arn=role_arn,
            session_name=self._name(identity, variables, budget),
            duration=(rule.session_duration if rule else None) or self._session_duration,
            mapping=rule.name if rule else None,
            policy_arns=restrictions.policy_arns,
            policy=restrictions.policy,
            chain=chain,
        )

    def _name(self, identity: Identity, variables: Mapping[str, Any], budget: Budget) -> str:
        if self.session_name is not None:
            try:
                wanted: object = self.session_name.value(variables, budget)
            except EvaluationError as error:
                raise Denied(Reason.SESSION_NAME_INVALID, f"session_name: {error}") from None
            source = "session_name"
        else:
            wanted = identity.claims.get(self._session_name_claim)
            source = f"claim {self._session_name_claim}"
        if not isinstance(wanted, str) or not wanted:
            raise Denied(Reason.SESSION_NAME_INVALID, f"{source} is not a string")
        if self._reject_session_names:
            try:
                return strict_session_name(wanted)
            except InvalidNameError as error:
                raise Denied(Reason.SESSION_NAME_INVALID, f"{source} {error}") from None
        return session_name(wanted, issuer=identity.issuer, subject=identity.subject)


def _bounded(grant: Grant, rules: Sequence[Rule | None], reason: str | None) -> Grant:
    """Return the grant with the end and the reason of the mappings that it comes from."""
    counting = [rule for rule in rules if rule is not None and not rule.counts_always]
    if not counting:
        return grant
    ends = [rule.validity.ends_at for rule in counting if rule.validity.ends_at is not None]
    reason = reason if any(rule.break_glass for rule in counting) else None
    return dataclasses.replace(grant, ends_at=min(ends, default=None), break_glass=reason)


def _step_up(needed: Sequence[Rule], granted: frozenset[str]) -> Denied | None:
    """Return the denial of a token that lacks scopes of these rules; None if it lacks none."""
    lacking = {rule.name: rule.require_scopes.missing(granted) for rule in needed}
    missing = [scope for scopes in lacking.values() for scope in scopes]
    if not missing:
        return None
    detail = "; ".join(
        f"mapping {name} needs scope {' '.join(scopes)}" for name, scopes in lacking.items() if scopes
    )
    return Denied(
        Reason.SCOPE_MISSING,
        detail,
        scopes=needed[0].require_scopes.to_ask_for(granted, missing),
        client_text=missing_text(missing),
        message=next((rule.message for rule in needed if rule.message and lacking[rule.name]), ""),
    )


def _chain(rule: Rule, variables: Mapping[str, Any], budget: Budget) -> ChainedRole | None:
    if rule.chain is None or rule.account is None:
        return rule.chain
    try:
        account = rule.account.expression.value(variables, budget)
    except EvaluationError as error:
        raise Denied(Reason.POLICY_ERROR, f"mapping {rule.name}: account: {error}") from None
    role_arn = rule.account.role_arns.get(account)
    if role_arn is None:
        raise Denied(Reason.POLICY_DENIED, f"mapping {rule.name}: the account is not in the list")
    return dataclasses.replace(rule.chain, role_arn=role_arn)
