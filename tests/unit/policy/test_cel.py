"""The CEL engine: what compiles, what matches, and that an unknown result is an error."""

import inspect
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from extproc.policy.cel import (
    MAX_EXPRESSION_LENGTH,
    EvaluationError,
    ExpressionError,
    MissingMemberError,
    compile_any,
    compile_bool,
    to_cel,
)
from support.tables import each_case

VARIABLES = frozenset({"claims"})


def matches(source, claims):
    return compile_bool(source, variables=VARIABLES).matches({"claims": to_cel(claims)})


def load_error(source):
    with pytest.raises(ExpressionError) as error:
        compile_bool(source, variables=VARIABLES)
    return str(error.value)


# Loading.


@each_case(
    ("source", "message"),
    [
        ("", "line 1, column 1: not a CEL expression"),
        ("claims.x ==", "line 1, column 10: not a CEL expression"),
        ('claims.x == "a" and true', "line 1, column 17: not a CEL expression"),
        ('claims.x == "a"\n&& && true', "line 2, column 4: not a CEL expression"),
        ("groups == 1", "column 1: undeclared variable 'groups'"),
        ('"admin" in group', "column 12: undeclared variable 'group'"),
        ("claims.groups.exists(g, h == 1)", "column 25: undeclared variable 'h'"),
        ("claims.groups.exists(g, true) && g == 1", "column 34: undeclared variable 'g'"),
        ("lookup(claims.sub)", "column 1: unknown function 'lookup'"),
        ("claims.sub.lower() == 'a'", "column 12: unknown function 'lower'"),
        ("claims.has(claims.x)", "column 8: unknown function 'has'"),
        ("claims.x.dyn()", "column 10: unknown function 'dyn'"),
        ("claims.exp.reduce(r, i, 0, r + i) == 1", "column 12: unknown function 'reduce'"),
        ("claims.exp.min() == 1", "column 12: unknown function 'min'"),
        ("exists(claims.groups, true)", "column 1: unknown function 'exists'"),
        ("list(claims.groups) == []", "column 1: unknown function 'list'"),
        ("map(claims.groups) == {}", "column 1: unknown function 'map'"),
        ("_in_(1, [1])", "column 1: unknown function '_in_'"),
        ("type(claims.groups) == lists", "column 24: undeclared variable 'lists'"),
        ("timestamp(claims.x) > timestamp(claims.y)", "column 1: unknown function 'timestamp'"),
        ("claims.groups.exists(true)", "column 15: exists() needs a variable name first"),
        ("claims.groups.all()", "column 15: all() needs a variable name first"),
        ("claims.groups.exists(claims.g, true)", "column 15: exists() needs a variable name first"),
        ("claims.groups.exists('g', true)", "column 15: exists() needs a variable name first"),
        ("claims.groups.exists(g)", "column 15: exists() needs one expression after the variable name"),
        (
            "claims.groups.all(g, true, g) == []",
            "column 15: all() needs one expression after the variable name",
        ),
        (
            "claims.sub.matches(claims.pattern)",
            "column 1: matches() needs a literal pattern, which is checked at load",
        ),
        ("claims.sub.matches('(?=a)')", "column 1: regular expression: invalid perl operator: (?="),
        ("claims.sub.matches('a**')", "column 1: regular expression: bad repetition operator: **"),
        (r"claims.sub.matches(r'\C')", r"column 1: regular expression: \C is not supported"),
        (
            r"claims.sub == 'a\qb'",
            r"column 15: unknown escape \q; write a backslash twice, or use r'...'",
        ),
        ("1", "the result is int, never bool"),
        ("claims", "the result is map, never bool"),
        ("null", "the result is null_type, never bool"),
        ("has(claims)", "column 1: has() needs one member, as in has(claims.groups)"),
        ("has(claims['x'])", "column 1: has() needs one member, as in has(claims.groups)"),
        ("has(claims.x, claims.y)", "column 1: has() needs one member, as in has(claims.groups)"),
        ("has()", "column 1: has() needs one member, as in has(claims.groups)"),
        ("google.protobuf.Struct{}", "protobuf messages are not supported"),
        ("Struct{a: 1}", "protobuf messages are not supported"),
        (".lookup(claims) == 1", "column 2: unknown function 'lookup'"),
        ("[1].exists(g, .g == 1)", "column 16: undeclared variable 'g'"),
    ],
)
def test_an_invalid_expression_is_refused_with_its_position(source, message):
    assert load_error(source) == message


def test_a_hostile_duration_is_refused_before_it_is_ever_evaluated():
    started = time.perf_counter()
    assert load_error(f'duration("{"a" * 60}!") > duration("1s")') == "column 1: unknown function 'duration'"
    assert load_error("duration(claims.x) > duration('1s')") == "column 1: unknown function 'duration'"
    assert time.perf_counter() - started < 1


def test_the_length_of_an_expression_is_bounded():
    longest = "true" + " " * (MAX_EXPRESSION_LENGTH - 4)
    assert matches(longest, {})
    assert load_error(longest + " ") == f"longer than {MAX_EXPRESSION_LENGTH} characters"


NESTINGS = {
    "parentheses": lambda n: "(" * n + "true" + ")" * n,
    "negations": lambda n: "!" * (2 * n) + "true",
    "lists": lambda n: "[" * n + "true" + "]" * n + " != []",
    "maps": lambda n: "{'a':" * n + "true" + "}" * n + " != {}",
    "calls": lambda n: "string(" * n + "'a'" + ")" * n + " == 'a'",
    "macros": lambda n: "".join(f"[1].exists(v{i}, " for i in range(n)) + "true" + ")" * n,
    "maps of maps": lambda n: "".join(f"[1].map(v{i}, " for i in range(n)) + "true" + ")" * n + " != []",
    "filters": lambda n: "[1]" + ".filter(x, x > 0)" * n + " == [1]",
    "conditionals": lambda n: "true ? (" * n + "true" + ") : false" * n,
    "conjunctions": lambda n: " && ".join(["true"] * (n + 1)),
    "disjunctions": lambda n: " || ".join(["false"] * n + ["true"]),
    "sums": lambda n: "+".join(["1"] * (n + 1)) + " > 0",
}


FLAT = [NESTINGS[name] for name in ("parentheses", "conjunctions", "disjunctions")]
"""What is as deep as its parts, however long it is."""


@each_case("nesting", NESTINGS.values(), ids=NESTINGS.keys())
def test_an_expression_is_either_refused_at_load_or_evaluates(nesting):
    refusals = set()
    for depth in (1, 5, 10, 12, 13, 14, 15, 30, 65, 75, 100, 136, 145, 200, 1000):
        source = nesting(depth)
        if len(source) > MAX_EXPRESSION_LENGTH:
            break
        try:
            condition = compile_bool(source, variables=VARIABLES)
        except ExpressionError as error:
            refusals.add(str(error))
        else:
            assert not refusals
            assert condition.matches({"claims": to_cel({})})
    assert refusals == (set() if nesting in FLAT else {"nested too deeply"})


@each_case("nesting", NESTINGS.values(), ids=NESTINGS.keys())
def test_ten_levels_are_always_accepted(nesting):
    assert matches(nesting(10), {})


def test_a_rule_may_enumerate_a_hundred_alternatives():
    source = " || ".join(f'claims.sub == "u{i}"' for i in range(100))
    assert matches(source, {"sub": "u99"})
    assert not matches(source, {"sub": "u100"})


# Evaluation.


@each_case(
    ("source", "claims", "expected"),
    [
        ("true", {}, True),
        ("false", {}, False),
        ('"sre" in claims.groups && !has(claims.act)', {"groups": ["sre"]}, True),
        ('"sre" in claims.groups && !has(claims.act)', {"groups": ["sre"], "act": {"sub": "x"}}, False),
        ("has(claims.act.sub)", {"act": {"sub": None}}, True),
        ("has((claims.act))", {"act": 1}, True),
        ("!has(claims.act.sub)", {"act": {}}, True),
        ('claims["https://example.com/team"] == "a"', {"https://example.com/team": "a"}, True),
        ('claims.realm_access.roles.exists(r, r == "admin")', {"realm_access": {"roles": ["admin"]}}, True),
        ('claims.email.endsWith("@example.com")', {"email": "a@example.com"}, True),
        ('claims.email.contains("@")', {"email": "a@example.com"}, True),
        ('claims.email.matches("^[a-z]+@example[.]com$")', {"email": "a@example.com"}, True),
        ("claims.email_verified == true", {"email_verified": True}, True),
        ("claims.email_verified", {"email_verified": True}, True),
        ("claims.level >= 3", {"level": 3}, True),
        ("claims.level >= 3", {"level": 2}, False),
        ("claims.groups.size() == 2 && size(claims.groups) == 2", {"groups": ["a", "b"]}, True),
        ('claims.groups[0] == "a"', {"groups": ["a"]}, True),
        ('claims.groups.map(g, g + "!") == ["a!", "b!"]', {"groups": ["a", "b"]}, True),
        ('claims.groups.filter(g, g != "a") == ["b"]', {"groups": ["a", "b"]}, True),
        ('claims.groups.exists_one(g, g.startsWith("a"))', {"groups": ["a", "ab"]}, False),
        ('claims.groups.exists_one(g, g.startsWith("a"))', {"groups": ["a", "b"]}, True),
        ("claims.groups.all(g, false)", {"groups": []}, True),
        ("claims.groups.exists(g, true)", {"groups": []}, False),
        ('"a" in claims.rights', {"rights": {"a": 1}}, True),
        ('claims.rights.exists(k, claims.rights[k] == "w")', {"rights": {"a": "r", "b": "w"}}, True),
        ("claims.a.exists(x, claims.b.exists(y, x == y))", {"a": [1, 2], "b": [2, 3]}, True),
        ("claims.a.exists(x, x.exists(x, x == 2)) && claims.a.exists(x, x != [2])", {"a": [[1], [2]]}, True),
        ("claims.x == null", {"x": None}, True),
        ("claims.x == null", {"x": "a"}, False),
        ("true in claims.flags", {"flags": [1]}, False),
        ("1 in claims.flags", {"flags": [True, 1]}, True),
        ("dyn(claims.sub) == 'a'", {"sub": "a"}, True),
    ],
)
def test_a_condition_is_decided_as_cel_decides_it(source, claims, expected):
    assert matches(source, claims) is expected


ERROR = object()


@each_case(
    ("source", "claims", "expected"),
    [
        ('string(claims.suspended) == "true"', {"suspended": True}, True),
        ('string(claims.mfa) != "false"', {"mfa": False}, False),
        ("int(claims.risk) < 5", {"risk": None}, ERROR),
        ("double(claims.risk) < 5.0", {"risk": None}, ERROR),
        ("!bool(claims.restricted)", {"restricted": None}, ERROR),
        ("bool(claims.suspended)", {"suspended": None}, ERROR),
        *(
            ("int(claims.level) > 20", {"level": level}, ERROR)
            for level in ("3_0", " 30 ", "0x3", "٣٠", "30\n", "")
        ),
        ("int(claims.level) > 20", {"level": True}, ERROR),
        ('string(claims.email) == "None"', {"email": None}, ERROR),
        (r'claims.q == "a\?b"', {"q": "a?b"}, True),
        ("[claims.v] == [1]", {"v": True}, False),
        ("{true: 2}[1] == 2", {}, ERROR),
        ("claims.v + 1 == 2", {"v": True}, ERROR),
        ("claims.v + 1.5 == 2.5", {"v": 1}, ERROR),
        ("claims.x == 1", {"x": "1"}, False),
        ("type(claims.x) == string", {"x": "1"}, True),
        ("type(null) == null_type", {}, True),
    ],
)
def test_nothing_is_more_forgiving_than_cel(source, claims, expected):
    if expected is ERROR:
        with pytest.raises(EvaluationError):
            matches(source, claims)
    else:
        assert matches(source, claims) is expected


@each_case("value", ["true", "false", "x", 1, 0, 1.0, [True], {"a": True}, None], ids=repr)
@each_case(
    "source",
    [
        "claims.v",
        "claims.v && true",
        "true && claims.v",
        "claims.v || false",
        "claims.v && claims.v",
        "claims.v ? true : false",
        "!claims.v",
        "!!claims.v",
        "[claims.v].all(v, v)",
        "[claims.v].exists(v, v)",
        "[1].exists(i, claims.v)",
        "[1].filter(i, claims.v) != []",
        "[1].exists_one(i, claims.v)",
        "{'a': claims.v}.a",
        "dyn(claims.v)",
    ],
)
def test_truthy_values_do_not_match(source, value):
    with pytest.raises(EvaluationError):
        matches(source, {"v": value})


@each_case(
    ("source", "claims", "expected"),
    [
        ("claims.v == true", {"v": 1}, False),
        ("claims.v == true", {"v": 1.0}, False),
        ("claims.v != false", {"v": 1}, True),
        ("claims.v == 1", {"v": True}, False),
        ("[claims.v] == [1]", {"v": True}, False),
        ("{'a': [claims.v]} == {'a': [1]}", {"v": True}, False),
        ("{true: 2} == {1: 2}", {}, False),
        ("1 in {claims.v: 2}", {"v": True}, False),
        ("claims.v == 1", {"v": 1.0}, True),
        ("claims.v == '1'", {"v": 1}, False),
        ("claims.v == null", {"v": False}, False),
        ("{1: 'a'} == {1u: 'a'}", {}, True),
        ("{1: 'a', true: 'b'}[claims.v] == 'b'", {"v": True}, True),
    ],
)
def test_values_of_different_types_are_different_but_numbers_of_one_value_equal(source, claims, expected):
    assert matches(source, claims) is expected


@each_case("source", ["claims.v >= 1", "claims.v + 1 == 2", "-claims.v == -1", "{true: 2}[1] == 2"])
def test_a_bool_is_not_a_number(source):
    with pytest.raises(EvaluationError):
        matches(source, {"v": True})


@each_case(
    "source",
    [
        '"a" in claims.v',
        '!("z" in claims.v)',
        'claims.v.all(c, c != "z")',
        'claims.v.exists(c, c == "a")',
        'claims.v.exists_one(c, c == "a")',
        'claims.v.filter(c, c == "a") == ["a"]',
        'claims.v.map(c, c) == ["a", "b", "c"]',
        'claims.v[0] == "a"',
        '[[claims.v]].exists(x, x.exists(y, y.all(c, c != "z")))',
        '[claims].exists(x, "a" in x.v)',
        '[claims].exists(x, x.v[0] == "a")',
        "!has(claims.v.x)",
    ],
)
def test_a_string_is_never_taken_for_a_list_or_a_map_at_any_depth(source):
    with pytest.raises(EvaluationError, match=r"^no \S+ for [a-z_, ]+$"):
        matches(source, {"v": "abc"})


@pytest.mark.parametrize("function", ["contains", "startsWith", "endsWith"])
def test_a_list_is_never_taken_for_a_string(function):
    with pytest.raises(EvaluationError, match=r"^no \S+ for [a-z_, ]+$"):
        matches(f'claims.groups.{function}("admin")', {"groups": ["admin"]})


@each_case(
    ("source", "claims", "kind"),
    [
        ("claims.groups[-1] == 'a'", {"groups": ["a"]}, "index out of range"),
        ("claims.groups[1] == 'a'", {"groups": ["a"]}, "index out of range"),
        ("claims.groups[true] == 'a'", {"groups": ["a", "a"]}, "no [] for list, bool"),
        ("size(claims.groups) == 0", {"groups": None}, "no size() for null_type"),
        ("size(claims.groups) == 0", {"groups": 5}, "no size() for int"),
        ("claims.n / 0 == 1", {"n": 1}, "division by zero"),
        ("claims.n + 9223372036854775807 > 0", {"n": 1}, "int beyond 64 bits"),
        ("claims.sub.matches('1')", {"sub": 1}, "no matches() for int"),
        ("claims.sub < 1", {"sub": "a"}, "no < for string, int"),
        ("claims.v", {"v": "true"}, "the result is not a bool"),
    ],
)
def test_every_failure_is_an_error_that_shows_its_kind_only(source, claims, kind):
    with pytest.raises(EvaluationError) as error:
        matches(source, claims)
    assert str(error.value) == kind


@each_case(
    ("source", "claims"),
    [
        ("claims.a == 1 && claims.b == 1", {}),
        ("claims.a == 1 || claims.b == 1", {}),
        ("!(claims.a == 1)", {}),
        ("claims.a == 1 ? true : true", {}),
        ("claims.list.exists(x, x.name == 'a')", {"list": [{}, {"n": 1}]}),
        ("claims.list.all(x, x.name == 'a')", {"list": [{}, {"n": 1}]}),
        ("claims.list.filter(x, x.name == 'a') == []", {"list": [{}]}),
        ("claims.list.map(x, x.name) == []", {"list": [{}]}),
        ("claims.list.exists_one(x, x.name == 'a')", {"list": [{}]}),
    ],
)
def test_missing_members_are_distinguished_from_other_errors(source, claims):
    with pytest.raises(MissingMemberError):
        matches(source, claims)


@pytest.mark.parametrize(
    "source",
    [
        "claims.a == 1 && claims.sub < 1",
        "claims.sub < 1 && claims.a == 1",
        "claims.sub < 1 || claims.a == 1",
    ],
)
def test_another_error_outweighs_a_missing_member(source):
    with pytest.raises(EvaluationError, match=r"^no \S+ for [a-z_, ]+$"):
        matches(source, {"sub": "alice"})


def test_a_decisive_operand_outweighs_errors_as_in_cel():
    assert matches("claims.a == 1 || claims.sub < 1 || true", {"sub": "x"}) is True
    assert matches("claims.a == 1 && claims.sub < 1 && false", {"sub": "x"}) is False
    assert matches("claims.list.exists(x, x == 2)", {"list": ["a", {}, 2]}) is True
    assert matches("claims.list.all(x, x == 2)", {"list": ["a", {}, 3]}) is False


@pytest.mark.parametrize("claims", [{"n": 2**63}, {"n": -(2**63) - 1}, {"l": [{"n": 2**70}]}])
def test_numbers_beyond_64_bits_are_an_error(claims):
    with pytest.raises(EvaluationError, match=r"^a number beyond 64 bits$"):
        to_cel(claims)


def test_the_largest_numbers_of_64_bits_are_fine():
    assert matches("claims.a > claims.b", {"a": 2**63 - 1, "b": -(2**63)})


def test_claims_nested_beyond_the_interpreter_are_an_error():
    claims = {}
    for _ in range(100_000):
        claims = {"a": claims}
    with pytest.raises(EvaluationError, match=r"^nested too deeply$"):
        to_cel(claims)
    while claims:  # unmade level by level: a deep value is freed by recursion otherwise
        claims = claims["a"]


def test_an_error_never_contains_a_value_even_in_logs(caplog):
    with caplog.at_level(logging.INFO):
        for source in (
            "claims.v < 1",
            "claims.v.exists(x, x)",
            "claims.v.x",
            "claims.v[0]",
            "int(claims.v) == 1",
        ):
            with pytest.raises(EvaluationError) as error:
                matches(source, {"v": "hunter2"})
            assert "hunter2" not in str(error.value)
            assert error.value.__cause__ is None
    assert "hunter2" not in caplog.text


def test_evaluations_in_eight_threads_do_not_mix():
    conditions = [
        compile_bool('"sre" in claims.groups && !has(claims.act)', variables=VARIABLES),
        compile_bool('claims.groups.exists(g, g == "sre") && !has(claims.act)', variables=VARIABLES),
    ]
    inputs = [
        ({"groups": ["sre"]}, True),
        ({"groups": ["sre"], "act": {"sub": "x"}}, False),
        ({"groups": ["dev"]}, False),
        ({"groups": []}, False),
    ]
    variables = [({"claims": to_cel(claims)}, expected) for claims, expected in inputs]

    def evaluate(thread):
        wrong = 0
        for turn in range(200):
            given, expected = variables[(thread + turn) % len(variables)]
            wrong += conditions[turn % 2].matches(given) is not expected
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(evaluate, range(8))) == [0] * 8


def test_a_chain_of_filters_costs_as_much_as_its_links():
    def visits(length):
        condition = compile_bool("[1]" + ".filter(x, x > 0)" * length + " == [1]", variables=VARIABLES)
        variables = {"claims": to_cel({})}
        started = time.process_time()
        assert condition.matches(variables)
        return time.process_time() - started

    visits(1)
    # Evaluating a receiver twice at each link would take 2**40 evaluations, not forty.
    assert visits(40) < 1


def test_an_exists_stops_at_its_first_match():
    claims = {"groups": ["a"] * 100_000}
    started = time.process_time()
    assert matches('claims.groups.exists(g, g == "a")', claims)
    assert time.process_time() - started < 2


@each_case(
    ("source", "claims"),
    [
        ("uint(claims.a) + uint(claims.b) == 5u", {"a": 3, "b": 2}),
        ("uint(claims.a) % uint(claims.b) == 1u", {"a": 3, "b": 2}),
        ("uint(uint(claims.a)) == 3u", {"a": 3}),
        ("int(uint(claims.a)) == 3", {"a": 3}),
        ("claims.x - 0.5 == 1.0", {"x": 1.5}),
        ("claims.x * 2.0 == 3.0", {"x": 1.5}),
        ("claims.x / 0.5 == 3.0", {"x": 1.5}),
        ("bytes(bytes(claims.s)) == b'a'", {"s": "a"}),
        ("string(bytes(claims.s)) == 'a'", {"s": "a"}),
        ("matches(claims.s, '^a')", {"s": "ab"}),
        ("claims.groups.exists(g, g.matches('^a'))", {"groups": ["b", "ab"]}),
        ("claims.groups.map(g, g != 'a', g) == ['b']", {"groups": ["a", "b"]}),
        ("claims.lists.exists(l, l.size() == 2)", {"lists": ["a", "ab"]}),
        ("claims.lists.exists(l, l.exists(e, e == 2))", {"lists": [[1], [2]]}),
    ],
)
def test_numbers_bytes_and_patterns_of_claims_are_what_they_are_in_cel(source, claims):
    assert matches(source, claims) is True


@each_case(
    ("source", "claims", "kind"),
    [
        ("string(b'\\xff' + bytes(claims.s)) == ''", {"s": "a"}, "the bytes are not UTF-8"),
        ("claims.a + claims.b == {}", {"a": {}, "b": {}}, "no + for map, map"),
        ("{claims.x: 1} == {}", {"x": 1.5}, "no map key for double"),
        ("{claims.x: 1, 1: 2} == {}", {"x": 1}, "a map has a key twice"),
        ("claims.groups.map(g, claims.x, g) == []", {"groups": ["a"], "x": "a"}, "no map() for string"),
    ],
)
def test_expressions_without_a_value_in_cel_are_errors(source, claims, kind):
    with pytest.raises(EvaluationError) as error:
        matches(source, claims)
    assert str(error.value) == kind


@each_case(
    ("source", "message"),
    [
        ("claims.s.contains('a', 'b')", "column 10: contains() takes one argument"),
        ("size(claims.a, claims.b) == 1", "column 1: size() takes one argument"),
        ("claims.a.size(1) == 1", "column 1: size() takes one argument"),
        ("matches(claims.s)", "column 1: unknown function 'matches'"),
    ],
)
def test_functions_accept_as_many_arguments_as_in_cel(source, message):
    assert load_error(source) == message


@each_case(
    ("claims", "kind"),
    [
        ({"a": "x\0y"}, "a string with U+0000"),
        ({"x\0y": 1}, "a string with U+0000"),
        ({"a": "\ud800"}, "a string that is not Unicode"),
        ({"a": {1, 2}}, "not a JSON value"),
        ({1: "a"}, "not a JSON value"),
    ],
    ids=["U+0000", "U+0000 in a name", "half a pair", "a set", "a number as name"],
)
def test_values_that_json_does_not_have_are_errors(claims, kind):
    with pytest.raises(EvaluationError) as error:
        to_cel(claims)
    assert str(error.value) == kind


@each_case("value", [{1}, object()], ids=["a set", "an object"])
@each_case("source", ["claims.v + 1 == 2", "claims.v < 1", "1 in claims.v", "size(claims.v) == 1"])
def test_a_value_that_did_not_come_from_to_cel_is_an_error(source, value):
    with pytest.raises(EvaluationError):
        compile_bool(source, variables=VARIABLES).matches({"claims": {"v": value}})


def test_a_variable_may_have_dots_in_its_name():
    value = compile_any("a.b.c == 1 && a.b == {'c': 1}", variables=frozenset({"a.b"}))
    assert value.value({"a.b": to_cel({"c": 1})}) is True


def test_without_the_check_an_unknown_name_is_an_error_only_where_it_is_evaluated():
    loose = compile_any("true || nowhere(1)", variables=frozenset(), checked=False)
    assert loose.value({}) is True
    with pytest.raises(EvaluationError, match="undeclared variable 'x'"):
        compile_any("x == 1", variables=frozenset(), checked=False).value({})
    with pytest.raises(EvaluationError, match="unknown function 'x'"):
        compile_any("['a'].exists(g, g.x('a'))", variables=frozenset(), checked=False).value({})


def test_an_expression_too_deep_for_the_remaining_stack_is_refused_as_too_deep():
    """As where a thread loads the configuration from deep within something else."""

    def with_frames(frames, call):
        return call() if frames == 0 else with_frames(frames - 1, call)

    def load():
        try:
            compile_bool(NESTINGS["lists"](60), variables=VARIABLES)
        except ExpressionError as error:
            return str(error)
        return "loaded"

    deepest = sys.getrecursionlimit() - len(inspect.stack())
    seen = {with_frames(deepest - left, load) for left in range(60, 360, 20)}
    assert seen == {"loaded", "nested too deeply"}
