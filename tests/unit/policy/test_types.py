"""The types in an expression that are known without a token, and the faults found by them."""

import pytest

from extproc.config import ConfigError
from extproc.policy import types
from extproc.policy.cel import shown
from extproc.policy.cel.compiler import Compiler
from extproc.policy.claims_schema import parse_schema
from extproc.policy.guards import unguarded
from extproc.policy.types import findings
from support.settings import minimal_settings
from support.tables import each_case

DECLARED = {
    "groups": "list(string)",
    "level": "int",
    "email": "string?",
    "mfa": "bool?",
    "limits": "map(int)?",
    "realm?": {"roles": "list(string)"},
    "ratio": "double?",
    "x": "any?",
}
SCHEMA = parse_schema(DECLARED)
ROLE = "arn:aws:iam::123456789012:role/R"

FOUND = [
    ('"a" in claims.gruops', "column 8: claims.gruops is not declared in claims; did you mean 'groups'?"),
    ("has(claims.emial)", "column 5: claims.emial is not declared in claims; did you mean 'email'?"),
    ('"emial" in claims', "column 1: claims.emial is not declared in claims; did you mean 'email'?"),
    ('claims["nothing like it"] == 1', 'column 1: claims["nothing like it"] is not declared in claims'),
    (
        "claims.realm.rolse == []",
        "column 1: claims.realm.rolse is not declared in claims; did you mean 'roles'?",
    ),
    ('claims.level == "3"', "column 1: int == string is never true (claims.level)"),
    ('claims["level"] > "3"', "column 1: int > string is an error (claims.level)"),
    ('claims.groups == "a"', "column 1: list(string) == string is never true (claims.groups)"),
    ('claims.mfa == "true"', "column 1: bool == string is never true (claims.mfa)"),
    ("claims.email != null", "column 1: string != null is always true (claims.email)"),
    ('claims.exp == "x"', "column 1: int == string is never true (claims.exp)"),
    ('claims.limits["a"] == "3"', "column 1: int == string is never true (claims.limits.a)"),
    ("1 in claims.groups", "column 1: int in list(string) is never true (claims.groups)"),
    ('claims.level in ["1"]', "column 1: int in list(string) is never true (claims.level)"),
    ('"a" in claims.level', "column 1: in is not for int"),
    ('claims.groups.contains("x")', "column 1: contains() is not for list(string)"),
    ('claims.level.startsWith("x")', "column 1: startsWith() is not for int"),
    ('claims.level.matches("x")', "column 1: matches() is not for int"),
    ("claims.groups.exists(g, g == 1)", "column 25: string == int is never true (g)"),
    ("claims.realm.roles.filter(r, r > 1) == []", "column 30: string > int is an error (r)"),
    ("claims.groups.all(g, g)", "column 1: all() is not for string"),
    ("claims.level.exists(g, g == 1)", "column 1: exists() is not for int"),
    ("!claims.level", "column 1: ! is not for int"),
    ("claims.mfa && claims.level", "column 15: && is not for int"),
    ("claims.level ? true : false", "column 1: ?: is not for int"),
    ("size(claims.level) > 1", "column 1: size() is not for int"),
    ('claims.email + 1 == "x"', "column 1: no arithmetic of string and int"),
    ('claims.groups["a"] == "x"', "column 1: claims.groups is list(string), and has no member 'a'"),
    ("claims.level.foo == 1", "column 1: claims.level is int, and has no member 'foo'"),
    ("claims.groups > claims.groups", "column 1: > is not for list(string)"),
    ("int(claims.groups) > 1", "column 1: int() is not for list(string)"),
    ("bool(claims.level)", "column 1: bool() is not for int"),
    ("string(claims.realm) == ''", "column 1: string() is not for object"),
    ('type(claims.level) == "int"', "column 1: type == string is never true"),
    (".claims.levle == 1", "column 1: claims.levle is not declared in claims; did you mean 'level'?"),
    ("-claims.email > 3", "column 1: - is not for string"),
    ("claims.email - 1 == 2", "column 1: arithmetic is not for string"),
    ('claims.groups[claims.email] == "x"', "column 1: a list has no element string"),
    ('matches(claims.level, "x")', "column 1: matches() is not for int"),
    ("claims.level.size() > 1", "column 1: size() is not for int"),
    (".size(claims.level) > 1", "column 1: size() is not for int"),
]

FINE = [
    '"a" in claims.groups',
    "claims.level == 3",
    "claims.level >= 3.5",
    "claims.level == 3u",
    "claims.ratio < 1",
    'claims.email.endsWith("x")',
    'claims.groups.exists(g, g.startsWith("x"))',
    "claims.mfa",
    "claims.realm.roles.exists(r, r == claims.sub)",
    'claims.limits["a"] > 3',
    '"email" in claims && claims.email != ""',
    'claims.act.sub == "x"',
    'claims.iss == "x" && claims.exp > 3',
    '"a" in claims.aud || claims.aud == "a"',
    "claims.x.y.z == 1",
    "claims[claims.email] == 1",
    'claims.groups[0] == "x"',
    "claims.groups == []",
    'claims.groups.map(g, g + "!") == ["a!"]',
    "claims.mfa ? claims.level > 1 : false",
    'string(claims.level) == "3"',
    "type(claims.level) == int",
    'dyn(claims.level) == "3"',
    '{"a": 1}[claims.email] == 1',
    'claims.realm == {"roles": []}',
    'claims.exists(k, k == "email")',
    '"x" in agents && agents[0] == "x"',
    'request.headers["a"] == "x" && mcp.arguments.x == 1',
]  # fmt: skip


@each_case(("source", "finding"), FOUND)
def test_faults_are_found_with_their_position(source, finding):
    assert findings(source, SCHEMA)[0] == finding


@each_case("source", [source for source, _ in FOUND])
def test_undeclared_claims_have_no_known_type(source):
    found = findings(source, None)
    assert not found or "claims.exp" in found[0] or "arithmetic" in found[0] or "type ==" in found[0]


@each_case("source", FINE)
def test_these_are_fine_with_and_without_a_schema(source):
    assert findings(source, SCHEMA) == findings(source, None) == []


@each_case(
    "source",
    [
        'request.headers["X-Team"] == "a"', "has(request.headers.authorization)", "type(agents) == 'list'",
        'request.headers["x-amz-date"] == "a"', "int(agents) > 1",
        "mcp.tool == 1", 'agents == "x"', "agents.exists(a, a == 1)", "request.method in [1]", '1 == "a"',
    ],
)  # fmt: skip
def test_the_types_of_other_variables_are_always_known(source):
    assert findings(source, None)


@each_case(
    ("source", "open_ones"),
    [
        ("claims.level < 3", ["claims.level"]),
        ('claims["level"] < 3', ["claims.level"]),
        ("has(claims.level) && claims.level < 3", []),
        ('"level" in claims && claims.level < 3', []),
        ("claims.act.sub == 'x'", ["claims.act"]),
        ("has(claims.act) && claims.act.sub == 'x'", ["claims.act.sub"]),
        ("has(claims.act.sub)", ["claims.act"]),
        ("has(claims.act) && has(claims.act.sub) && claims.act.sub == 'x'", []),
        (".claims.level < 3", ["claims.level"]),
        ('claims["https://x/y"] == 1', ['claims["https://x/y"]']),
        ("claims.sub == 'x' && claims.iss == 'y' && claims.exp > 1", []),
        ("mcp.tool == 'x' && agents == []", []),
        ("claims.groups.exists(g, g == claims.team)", ["claims.groups", "claims.team"]),
    ],
)
def test_claims_that_are_read_without_has_are_named(source, open_ones):
    assert [shown(path) for path in unguarded(source)] == open_ones


def load(**changes):
    return minimal_settings(**{"fallback_role_arn": ROLE, **changes})


@each_case(
    ("changes", "line"),
    [
        (
            {"role_mappings": [{"matcher": '"a" in claims.gruops', "role_arn": ROLE}], "claims": DECLARED},
            "role_mappings[0].matcher: CEL: column 8: claims.gruops is not declared in claims; did you mean 'groups'?",
        ),
        (
            {"ceilings": [{"name": "c", "matcher": "mcp.tool == 1", "policy_arns": ["arn:aws:iam::aws:policy/P"]}]},
            "ceilings[0].matcher: CEL: column 1: string == int is never true (mcp.tool)",
        ),
        (
            {"session_name": "claims.emial", "claims": DECLARED},
            "session_name: CEL: column 1: claims.emial is not declared in claims; did you mean 'email'?",
        ),
        (
            {"role_mappings": [{"claim": "a", "role_arn": ROLE}], "claims": {"gruops": "list(string)"}},
            "role_claim: groups is not declared in claims; did you mean 'gruops'?",
        ),
        (
            {"role_mappings": [{"claim": "a", "role_arn": ROLE}], "claims": {"groups": "string"}},
            "role_claim: groups is declared as string, and must be a list",
        ),
        (
            {"session_name_claim": "level", "claims": DECLARED},
            "session_name_claim: level is declared as int, and must be a string",
        ),
        ({"session_name_claim": "exp"}, "session_name_claim: exp does not name a user"),
        (
            {"role_mappings": [{"matcher": 'claims.x == int("x")', "role_arn": ROLE}]},
            "role_mappings[0].matcher: CEL: column 13: always an error: the string is not an int",
        ),
    ],
)  # fmt: skip
def test_a_finding_is_an_error_of_the_configuration(changes, line):
    with pytest.raises(ConfigError) as error:
        load(**changes)
    assert error.value.problems == [line]


def test_whatever_compiles_has_a_type():
    parts = {name.removeprefix("_rule") for name in dir(Compiler) if name.startswith("_rule_")}
    assert parts <= set(dir(types._Checker))
