"""The engine against Google's, over expressions as people write them: the same, or known and failing closed."""

import itertools

import pytest

from extproc.policy.cel import EvaluationError, compile_condition, to_cel

cel_expr = pytest.importorskip("cel_expr_python.cel")

CLAIMS = {
    "full": {
        "sub": "alice",
        "email": "alice@example.com",
        "email_verified": True,
        "groups": ["dev", "sre", "admin"],
        "level": 3,
        "ratio": 0.5,
        "act": {"sub": "agent"},
        "realm_access": {"roles": ["ops", "admin"]},
        "nothing": None,
    },
    "empty": {},
    "no groups": {
        "sub": "bob",
        "email": "bob@other.example",
        "groups": [],
        "level": 0,
        "email_verified": False,
    },
    "text for list": {"sub": "eve", "groups": "admin", "realm_access": {"roles": "admin"}, "level": "3"},
    "odd": {
        "sub": 5,
        "groups": {"admin": True},
        "email": ["alice@example.com"],
        "level": True,
        "act": "agent",
    },
    "mixed": {"sub": "m", "groups": ["admin", 1, None, True, ["x"]], "level": 2.5, "realm_access": None},
    "many": {"sub": "n", "groups": [f"g{n}" for n in range(50)], "email": "", "level": -1},
}
EXPRESSIONS = [
    "true",
    '"admin" in claims.groups',
    '!("admin" in claims.groups)',
    '"admin" in claims.groups && !has(claims.act)',
    '"admin" in claims.groups || "sre" in claims.groups',
    '"admin" in claims.realm_access.roles',
    'has(claims.groups) && "admin" in claims.groups',
    "has(claims.act)",
    "!has(claims.act)",
    "has(claims.act) && has(claims.act.sub)",
    'has(claims.act) ? claims.act.sub == "agent" : true',
    "has(claims.nothing)",
    "claims.nothing == null",
    'claims.sub == "alice"',
    'claims.sub != "alice"',
    'claims["sub"] == "alice"',
    'claims.sub in ["alice", "bob"]',
    'claims.email.endsWith("@example.com")',
    'claims.email.startsWith("alice")',
    'claims.email.contains("@")',
    'claims.email.matches("^[a-z]+@example[.]com$")',
    "claims.email_verified",
    "claims.email_verified == true",
    'claims.email_verified && claims.email.endsWith("@example.com")',
    "claims.level >= 3",
    "claims.level > 1 && claims.level < 5",
    "claims.level == 3",
    "claims.level + 1 == 4",
    "claims.ratio < 1.0",
    'claims.groups.exists(g, g == "admin")',
    'claims.groups.exists(g, g.startsWith("adm"))',
    'claims.groups.all(g, g != "admin")',
    'claims.groups.exists_one(g, g == "admin")',
    'claims.groups.filter(g, g == "admin").size() == 1',
    'claims.groups.map(g, g + "!") == ["dev!", "sre!", "admin!"]',
    "claims.groups.size() > 0",
    "size(claims.groups) == 3",
    'claims.groups[0] == "dev"',
    "claims.groups == []",
    'claims.groups.exists(g, g in ["sre", "ops"])',
    "claims.groups.exists(g, claims.realm_access.roles.exists(r, r == g))",
    "claims.sub.size() == 5",
    'claims.sub + "@x" == "alice@x"',
    'string(claims.level) == "3"',
    'int("3") == claims.level',
    'claims.groups.exists(g, g.matches("^(adm|dev)"))',
    '("admin" in claims.groups ? 1 : 2) == 1',
    'claims.missing == "x" || claims.sub == "alice"',
    'claims.missing == "x" && claims.sub == "nobody"',
    '!(claims.sub == "alice" && claims.level >= 3)',
]  # fmt: skip

KNOWN: dict[tuple[str, str], tuple[object, object]] = {}
"""(expression, claims) → (ours, theirs)."""


def ours(expression, claims):
    condition = compile_condition(expression, variables=frozenset({"claims"}))
    try:
        return condition.matches({"claims": to_cel(claims)})
    except EvaluationError:
        return "error"


def theirs(expression, claims):
    variables = {"claims": cel_expr.Type.Map(cel_expr.Type.STRING, cel_expr.Type.DYN)}
    compiled = cel_expr.NewEnv(variables=variables).compile(expression)
    value = compiled.eval(data={"claims": claims}).plain_value()
    return value if isinstance(value, bool) else "error"


def difference(expression, claims):
    mine, other = ours(expression, claims), theirs(expression, claims)
    # A missing member is an error to them and "no match" to us: neither is a match.
    return None if mine == other or {mine, other} == {False, "error"} else (mine, other)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_both_engines_agree_or_the_difference_is_known(expression):
    for name, claims in CLAIMS.items():
        assert difference(expression, claims) == KNOWN.get((expression, name)), name


def test_every_known_difference_fails_closed():
    assert all(mine is not True for mine, _ in KNOWN.values())
    assert set(KNOWN) <= set(itertools.product(EXPRESSIONS, CLAIMS))
