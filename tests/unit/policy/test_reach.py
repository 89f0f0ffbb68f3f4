"""Which rules can apply at all: planted faults are found, and no finding is ever wrong."""

import random
import time

from extproc.policy import review
from extproc.policy.ceilings import Ceiling
from extproc.policy.cel import Budget, to_cel
from extproc.policy.mappings import Rule
from extproc.policy.matchers import ClaimContains, cel_matcher
from extproc.policy.reach import findings
from extproc.policy.rules import Policy
from extproc.policy.search import Subject, first_match
from extproc.policy.session_policy import session_policy
from extproc.scopes import ScopeHierarchy
from extproc.values import Identity
from support.tables import each_case

ISSUERS = ["https://a.example", "https://b.example"]
READ_ONLY = session_policy(["arn:aws:iam::aws:policy/ReadOnlyAccess"], None)


def rule(condition, *, deny=False, name="", issuers=None, scopes=()):
    matcher = ClaimContains("groups", condition[1:]) if condition.startswith("@") else cel_matcher(condition)
    return Rule(
        name,
        matcher,
        None if deny else "arn:aws:iam::123456789012:role/R",
        None,
        issuers=frozenset(issuers) if issuers else None,
        require_scopes=ScopeHierarchy({}).require(scopes),
    )


def deny(condition, **members):
    return rule(condition, deny=True, **members)


def ceiling(condition, **members):
    matcher = cel_matcher(condition)
    return Ceiling("", matcher, session_policy=READ_ONLY, **members)


def warnings(entries, *, fallback=None):
    """Return the findings about rules; entries are named a, b, c ... in their order."""
    named = []
    for name, entry in zip("abcdefghij", entries, strict=False):
        object.__setattr__(entry, "name", name)
        named.append(entry)
    policy = Policy(
        rules=[entry for entry in named if isinstance(entry, Rule)],
        ceilings=[entry for entry in named if isinstance(entry, Ceiling)],
        fallback_role_arn=fallback,
        session_name_claim="sub",
        session_duration=3600,
    )
    return [
        line
        for line in review.warnings(policy, issuers=ISSUERS[:1])
        if "reached" in line or "matches" in line or "contradicts" in line or "every request" in line
    ]


def contradicts(name="a"):
    return f"mapping {name}: never matches: its condition contradicts itself"


def hidden(name, by, kind="mapping"):
    takes = "take" if " and " in by else "takes"
    return f"{kind} {name}: never reached, since {kind} {by} {takes} all that it matches"


FAULTS = {
    "two values at once": ([rule('claims.team == "x" && claims.team == "y"')], [contradicts()]),
    "two tools at once": ([deny('mcp.tool == "x" && mcp.tool == "y"')], [contradicts()]),
    "an intersection of lists": (
        [rule('claims.team in ["x", "y"] && claims.team in ["z", "w"]')],
        [contradicts()],
    ),
    "a value and its negation": (
        [rule('claims.team == "x" && mcp.tool == "t" && "x" != claims["team"]')],
        [contradicts()],
    ),
    "a member of what is missing": (
        [rule('!has(claims.act) && claims.act.sub == "agent"')],
        [contradicts()],
    ),
    "an empty range": ([rule("claims.level < 3 && claims.level > 5")], [contradicts()]),
    "a range without the value": ([rule("claims.level == 4 && claims.level > 4")], [contradicts()]),
    "a prefix that the value lacks": (
        [rule('claims.email == "a@x.example" && claims.email.endsWith("@y.example")')],
        [contradicts()],
    ),
    "two prefixes": (
        [rule('request.path.startsWith("/a") && request.path.startsWith("/b")')],
        [contradicts()],
    ),
    "a prefix without its part": (
        [rule('claims.e.startsWith("ab") && !claims.e.contains("b")')],
        [contradicts()],
    ),
    "agents and none": ([rule('agents == [] && "bot" in agents')], [contradicts()]),
    "a restriction that holds for missing claims only": (
        [deny('claims.team == "x" && claims.team == "y"')],
        [
            "mapping a: its condition contradicts itself: it applies at most where a claim that it reads is missing"
        ],
    ),
    "an earlier mapping is wider": (
        [rule('"sre" in claims.groups'), rule('"sre" in claims.groups && mcp.tool == "t"')],
        [hidden("b", "a")],
    ),
    "the short form is wider": (
        [rule("@sre"), rule('mcp.tool == "t" && "sre" in claims["groups"]')],
        [hidden("b", "a")],
    ),
    "wider than the short form": (
        [rule('"ops" in claims.groups || "sre" in claims.groups'), rule("@sre")],
        [hidden("b", "a")],
    ),
    "two earlier ones together": (
        [rule('claims.env == "p"'), rule('claims.env == "q"'), rule('claims.env in ["q", "p"]')],
        [hidden("c", "a and b")],
    ),
    "both ways of a test": (
        [
            rule('mcp.tool == "t" && has(claims.x)'),
            rule('mcp.tool == "t" && !has(claims.x)'),
            rule('mcp.tool == "t" && "sre" in claims.groups'),
        ],
        [hidden("c", "a and b")],
    ),
    "a deny rule takes it": (
        [deny('mcp.tool in ["x", "y"]'), rule('mcp.tool == "x" && "sre" in claims.groups')],
        [hidden("b", "a")],
    ),
    "only the spelling differs": (
        [
            rule('claims.team == "x" && mcp.tool != "t"'),
            rule("!(mcp.tool == 't') && (\"x\" == claims['team'])"),
        ],
        [hidden("b", "a")],
    ),
    "a lower bound below another": (
        [rule("claims.level >= 3"), rule("5 < claims.level")],
        [hidden("b", "a")],
    ),
    "deny rules for every request": (
        [
            deny('request.method == "GET"'),
            deny('request.method != "GET" || !has(request.method)'),
            rule("@x"),
        ],
        ["mapping a and b together deny every request", hidden("c", "a and b")],
    ),
    "a tautology": (
        [deny('claims.team == "x" || claims.team != "x"'), rule("@x")],
        ["mapping a denies every request", hidden("b", "a")],
    ),
    "ceilings": (
        [rule("true"), ceiling("agents != []"), ceiling('"bot" in agents')],
        [hidden("c", "b", "ceiling")],
    ),
    "a ceiling that contradicts itself": (
        [rule("true"), ceiling("agents == [] && agents != []")],
        ["ceiling b: never matches: its condition contradicts itself"],
    ),
    "each issuer by another mapping": (
        [rule("@x", issuers=ISSUERS[:1]), rule('"x" in claims.groups && has(claims.y)', issuers=ISSUERS[:1])],
        [hidden("b", "a")],
    ),
}


@each_case("name", FAULTS)
def test_a_planted_fault_is_found_and_nothing_else(name):
    entries, expected = FAULTS[name]
    assert sorted(warnings(entries)) == sorted(expected)


def test_a_fallback_role_that_no_request_gets_to():
    rules = [rule("has(claims.x)"), rule("!has(claims.x)")]
    assert warnings(rules, fallback="arn:aws:iam::123456789012:role/F") == [
        "fallback_role_arn: never reached, since mapping a and b take every request"
    ]


CLEAN = {
    "overlapping groups": [rule("@a"), rule("@b"), rule('"a" in claims.groups || "c" in claims.groups')],
    "narrow before wide": [rule('"a" in claims.groups && mcp.tool == "t"'), rule("@a")],
    "values of one claim": [rule('claims.t == "x"'), rule('claims.t == "y"'), rule('claims.t != "x"')],
    "a missing claim is neither": [rule('claims.t == "x"'), rule('claims.t != "x"'), rule("@a")],
    "a missing claim is no tautology": [rule('claims.t == "x" || claims.t != "x"'), rule("@a")],
    "a missing member of the request": [
        deny('mcp.tool == "x"'),
        deny('mcp.tool != "x"'),
        rule('"a" in claims.groups'),
    ],
    "two groups of one list": [rule('"a" in claims.groups && "b" in claims.groups')],
    "two numbers that are equal": [rule("claims.level == 3 && claims.level == 3.0")],
    "a number and a string": [rule('claims.level == 3 || claims.level == "3"')],
    "a number and another test of it": [rule("claims.level == 3 && claims.level % 2 == 1")],
    "ranges that meet": [rule("claims.level < 3"), rule("claims.level <= 3"), rule("claims.level >= 3")],
    "prefixes of each other": [rule('claims.e.startsWith("a") && claims.e.startsWith("ab")')],
    "a prefix and a suffix": [rule('claims.e.startsWith("a") && claims.e.endsWith("b")')],
    "errors end nothing that matches": [rule("claims.a && claims.b"), rule("claims.b"), rule("claims.c")],
    "deny by default": [deny('!has(claims.mfa) || claims.mfa != "yes"'), rule("@a")],
    "a guard": [deny("has(claims.level) && claims.level < 3"), deny("claims.level < 2"), rule("@a")],
    "scopes pass requests on": [rule("@a", scopes=["aws:call"]), rule("@a"), rule("@b")],
    "a deny rule that scopes lift": [
        deny("@a", scopes=["aws:call"]),
        deny('"a" in claims.groups'),
        rule("@b"),
    ],
    "another issuer": [rule("@a", issuers=["https://b.example"]), rule("@a")],
    "ceilings from narrow to wide": [
        rule("true"),
        ceiling('"bot" in agents'),
        ceiling('agents != [] || claims.azp != "cli"'),
    ],
    "macros": [
        rule('claims.groups.exists(g, g == "a") && claims.groups.exists(g, g == "b")'),
        rule('claims.groups.all(g, g.startsWith("a"))'),
        rule('claims.groups.exists(g, g.startsWith("a"))'),
    ],
    "a hidden variable": [
        rule('claims.l.exists(claims, claims == "a")'),
        rule('claims.l.exists(claims, .claims == "a")'),
    ],
    "conditionals": [rule("has(claims.x) ? claims.x : claims.y"), rule("claims.x"), rule("claims.y")],
    "what is no constant": [
        rule('claims.t in ["x", mcp.tool] && claims.t == "y"'),
        rule("-claims.n < -3"),
        rule("-claims.n == 3"),
        rule("claims.t in claims.l"),
    ],
    "nested members": [
        rule('has(claims.act) && has(claims.act.sub) && claims.act.sub == "a"'),
        rule('has(claims.act) && !has(claims.act.sub) && claims.act.x == "a"'),
        rule('!has(claims.act) || claims.act != "a"'),
    ],
}


@each_case("name", CLEAN)
def test_a_clean_policy_has_no_finding(name):
    assert warnings(CLEAN[name]) == []


ATOMS = [
    'claims.t == "x"', 'claims.t != "y"', 'claims.t in ["x", "z"]', "has(claims.t)", 'claims.t.startsWith("x")',
    "claims.n < 3", "claims.n >= 3", "claims.n == 3", "2.5 < claims.n", "claims.n <= 4", "claims.n",
    '"g" in claims.groups', '"h" in claims.groups', "claims.groups == []", "size(claims.groups) > 0",
    "has(claims.a.b)", 'claims.a.b == "x"', 'claims.a.b.c == "x"', "has(claims.a)", 'claims.a == "x"',
    'mcp.tool == "x"', 'mcp.tool != "y"', "has(mcp.tool)", "has(mcp.arguments.k)", "mcp.arguments.k == true",
    "mcp.arguments.k", "claims.t == mcp.tool", "mcp.tool == claims.t", '"g" in agents', "agents == []",
    '(has(claims.t) ? claims.t == "x" : mcp.tool == "x")', "claims.groups.exists(g, g == mcp.tool)", "true",
    'claims["t"].contains("x")', "claims.t.contains(mcp.tool)", "claims.n + 1 > 3", "claims.groups[0] == claims.t",
    "has(claims.groups[0].x)", '"t" in claims', 'claims.t in ["x", mcp.tool]', "-claims.n < -3", 'claims.groups[0] == "g"',
    'claims.groups == "g"', 'claims.n == "x"', 'claims.t < "y"',
]  # fmt: skip


def _condition(chance, depth=2):
    if depth == 0 or chance.random() < 0.35:
        return chance.choice(ATOMS)
    operator = chance.choice(["&&", "||", "&&", "||", "!"])
    if operator == "!":
        return f"!({_condition(chance, depth - 1)})"
    return "(" + f" {operator} ".join(_condition(chance, depth - 1) for _ in range(2)) + ")"


def _variables(chance):
    def members(**choices):
        picked = {name: chance.choice(values) for name, values in choices.items()}
        return {name: value for name, value in picked.items() if value != "-"}

    claims = members(
        t=["-", "x", "y", "z", "xy", 3, None],
        n=["-", 2, 2.75, 3, 3.0, 4, 5, "x", True],
        groups=["-", [], ["g"], ["g", "h"], "g", {"g": 1}, None],
        a=["-", "x", {}, {"b": "x"}, {"b": {"c": "x"}}, {"b": 1}, []],
    )
    mcp = members(tool=["-", "x", "y", "g"], arguments=["-", {}, {"k": True}, {"k": "x"}, "x"])
    return {
        "claims": to_cel(claims),
        "mcp": to_cel(mcp),
        "request": {},
        "agents": chance.choice([[], ["g"], ["h"]]),
    }


@each_case("seed", range(4))
def test_what_is_said_to_be_never_reached_is_not_reached(seed):
    chance = random.Random(seed)
    inputs = [_variables(chance) for _ in range(50)]
    said = 0
    for _ in range(25):
        rules = [rule(_condition(chance), deny=chance.random() < 0.4, name=str(n)) for n in range(4)]
        if chance.random() < 0.3:
            rules.append(rule(chance.choice(["@g", "@h"]), deny=chance.random() < 0.5, name="short"))
        chance.shuffle(rules)
        never = [r for r in rules if (findings.never_matches("", r) or "").endswith("contradicts itself")]
        falsely = [r for r in rules if "at most" in (findings.never_matches("", r) or "")]
        hidden_ones = [r for place, r in enumerate(rules) if findings.hiding(r, rules[:place], ISSUERS[:1])]
        ended = bool(findings.ending(rules, ISSUERS[:1]))
        said += len(never) + len(falsely) + len(hidden_ones) + ended
        for variables in inputs:
            subject = Subject(_identity(), frozenset(), variables, Budget())
            found = first_match(rules, subject)
            assert found.entry not in hidden_ones, [r.matcher for r in rules]
            assert not (ended and found.entry is None and found.error is None), [r.matcher for r in rules]
            for entry in never:
                assert first_match([entry], subject).entry is None, entry.matcher
            for entry in falsely:
                result = first_match([entry], subject)
                assert result.entry is None or result.evaluated[-1].missing, entry.matcher
    assert said > 3  # else nothing was tested


def _identity():
    return Identity(ISSUERS[0], "s", 0.0, {}, None)


def test_sixty_rules_take_a_moment_and_too_many_atoms_find_nothing():
    groups = [rule(f'"g{n}" in claims.groups && mcp.tool != "t{n % 7}"', name=f"r{n}") for n in range(60)]
    began = time.process_time()
    assert not any(findings.hiding(entry, groups[:n], ISSUERS) for n, entry in enumerate(groups))
    assert not findings.ending(groups, ISSUERS)
    assert time.process_time() - began < 10
    assert findings.hiding(groups[0], [rule(f"claims.a{n} < {n}") for n in range(200)], ISSUERS) == []
    many = " && ".join(f"(claims.a{n} == claims.b{n} || claims.c{n} == claims.d{n})" for n in range(80))
    assert findings.never_matches("mapping", rule(f'{many} && claims.x == "a" && claims.x == "b"')) is None
