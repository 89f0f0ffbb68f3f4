"""``extproc test``: cases pass exactly where the server would do what they expect."""

import sys
import time
import xml.etree.ElementTree as ET

import pytest
import yaml
from click.testing import CliRunner

from extproc.cases import document
from extproc.cases.second_engine import SecondEngine
from extproc.cli import main
from extproc.config import ConfigError
from extproc.policy.cel.parts import operands
from extproc.policy.cel.syntax import parse
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
INLINE = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}]}'
SETTINGS = {
    "resource": {"url": "https://mcp.example.com/mcp"},
    "issuers": [{"issuer": "https://idp.example.com/", "audiences": ["https://mcp.example.com/mcp"]}],
    "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
    "role_mappings": [
        {"name": "no-rm", "matcher": 'mcp.tool == "rm"', "effect": "deny"},
        {"name": "admins", "claim": "admins", "role_arn": ROLE + "Admin", "priority": 1},
        {
            "name": "dev",
            "matcher": '"dev" in claims.groups && (claims.level > 2 || has(claims.senior))',
            "role_arn": ROLE + "Dev",
            "policy": INLINE,
            "priority": 2,
        },
        {
            "name": "read",
            "claim": "read",
            "role_arn": ROLE + "First",
            "policy_arns": [READ_ONLY],
            "chain": {"role_arn": ROLE + "Second"},
        },
    ],
    "ceilings": [{"name": "agents", "matcher": "agents != []", "max_mapping": "read"}],
    "fallback_role_arn": ROLE + "Guest",
}


@pytest.fixture
def run(tmp_path):
    def test(cases, *options, settings=SETTINGS, defaults=None):
        (tmp_path / "extproc.yaml").write_text(yaml.safe_dump(settings))
        content = {"defaults": defaults or {"claims": {"sub": "alice", "groups": []}}, "cases": cases}
        (tmp_path / "extproc.test.yaml").write_text(
            cases if isinstance(cases, str) else yaml.safe_dump(content)
        )
        return CliRunner().invoke(main, ["test", "--config", str(tmp_path / "extproc.yaml"), *options])

    return test


def case(expect, claims=None, **members):
    given = {"claims": claims} if claims else {}
    return {"name": "it", "expect": expect, **given, **members}


HOLDS = {
    "mapping": case({"mapping": "admins"}, {"groups": ["admins"]}),
    "role": case({"role": ROLE + "Admin"}, {"groups": ["admins"]}),
    "session name": case({"session_name": "bob"}, {"sub": "bob"}),
    "fallback role": case({"mapping": None, "role": ROLE + "Guest"}),
    "inline policy": case({"policy": yaml.safe_load(INLINE)}, {"groups": ["dev"], "level": 3}),
    "no inline policy": case({"policy": None, "policy_arns": []}, {"groups": ["admins"]}),
    "policies and role of a chain": case(
        {"role": ROLE + "Second", "policy_arns": [READ_ONLY]}, {"groups": ["read"]}
    ),
    "ceiling": case({"mapping": "read"}, {"groups": ["admins"], "act": {"sub": "agent"}}),
    "denied tool": case({"denied": "policy_denied", "mapping": "no-rm"}, mcp={"tool": "rm"}),
    "allowed tool": case({"mapping": None}, mcp={"tool": "ls"}),
    "resource": case({"mapping": None}, mcp={"method": "resources/read", "resource": "file:///a"}),
    "prompt": case({"mapping": None}, mcp={"method": "prompts/get", "prompt": "p"}),
    "error": case({"denied": "policy_error"}, {"groups": "admins"}),
    "request": case({"denied": "token_in_url"}, request={"path": "/mcp?access_token=x"}),
}


@pytest.mark.parametrize("name", HOLDS)
def test_what_the_server_does_passes(run, name):
    result = run([HOLDS[name]])
    assert (result.exit_code, result.output.startswith("1 passed, 0 failed")) == (0, True), result.output


FAILS = {
    "another mapping": (
        case({"mapping": "dev"}, {"groups": ["admins"]}),
        "expected mapping dev, got admins",
    ),
    "another role": (case({"role": ROLE + "X"}), f"expected role {ROLE}X, got {ROLE}Guest"),
    "another name": (case({"session_name": "bob"}), "expected session_name bob, got alice"),
    "the first role of a chain": (case({"role": ROLE + "First"}, {"groups": ["read"]}), "Second"),
    "a policy for none": (
        case({"policy": None}, {"groups": ["dev"], "level": 3}),
        "expected policy null, got {",
    ),
    "none for a policy": (case({"policy_arns": [READ_ONLY]}), "expected policy_arns"),
    "a denial for a role": (
        case({"denied": "no_role"}),
        f"expected denied no_role, got {ROLE}Guest of mapping none",
    ),
    "a role for a denial": (
        case({"mapping": "no-rm"}, mcp={"tool": "rm"}),
        "expected a role, got denied policy_denied: mapping no-rm denies",
    ),
    "another reason": (
        case({"denied": "no_role"}, mcp={"tool": "rm"}),
        "expected denied no_role, got denied policy_denied",
    ),
    "a role for an answer": (
        case(
            {"mapping": None},
            request={"method": "GET", "path": "/.well-known/oauth-protected-resource/mcp"},
        ),
        "expected a role, got an answer of extproc itself (200)",
    ),
    "a bad request": (case({"mapping": None}, request={"nonsense": 1}), "bad input: request: unknown member"),
}


@pytest.mark.parametrize("name", FAILS)
def test_what_it_does_not_do_fails(run, name):
    given, message = FAILS[name]
    result = run([given])
    assert result.exit_code == 1
    assert "FAIL " in result.output
    assert message in result.output
    assert "0 passed, 1 failed" in result.output


def test_a_failure_says_why(run):
    result = run([case({"mapping": "dev"}, {"groups": ["dev"], "level": 1})])
    lines = [line.strip() for line in result.output.splitlines()]
    assert "dev does not apply: claims.level > 2 is false; has(claims.senior) is false" in lines


def test_rows_of_a_table_share_what_their_case_has_and_replace_expect(run, tmp_path):
    table = [
        {"claims": {"level": 3}},
        {"name": "named", "claims": {"groups": []}, "expect": {"mapping": None}},
        {"claims": {"groups": ["dev"], "level": 9}, "mcp": {"tool": "rm"}, "expect": {"denied": "no_role"}},
    ]
    given = case({"mapping": "dev"}, {"groups": ["dev"]}, mcp={"tool": "ls"}, table=table)
    result = run([given], "--junit", str(tmp_path / "junit.xml"))
    assert result.exit_code == 1
    suite = ET.parse(tmp_path / "junit.xml").getroot().find("testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "0",
    }
    assert [entry.get("name") for entry in suite] == ["it [1]", "it [named]", "it [3]"]
    failure = suite.find("testcase/failure")
    assert failure.get("message").startswith("expected denied no_role, got denied policy_denied")


BAD = {
    "- : [": "not valid YAML",
    "[]": "document: must be one mapping",
    "cases: []": "cases: List should have at least 1 item",
    "cases: [{name: a, name: b}]": "'name' is set twice",
    "cases: [{name: a, nonsense: 1}]": "cases[0].nonsense: unknown key",
    "cases: [{name: a, claims: {}}]": "cases[0]: expect is required",
    "cases: [{name: a, expect: {denied: no_role}}]": "cases[0]: claims is required",
    "cases: [{name: a, claims: {}, expect: {}}]": "cases[0].expect: must not be empty",
    "cases: [{name: a, claims: {}, expect: {denied: no_rule}}]": "did you mean 'no_role'",
    "cases: [{name: a, claims: {}, expect: {denied: no_role, role: r}}]": "denied goes with mapping only",
    "cases: [{name: a, claims: {}, expect: {maping: m}}]": "cases[0].expect.maping: unknown key",
    "cases: [{name: a, claims: {}, expect: {mapping: m}, table: [{x: 1}]}]": "cases[0].table[0].x: unknown key",
    "cases: [{name: a, claims: {at: 2026-01-01}, expect: {mapping: m}}]": "cases[0].claims: JSON has no such value",
    "cases: [{name: a, claims: {}, mcp: {tol: x}, expect: {mapping: m}}]": "cases[0].mcp.tol: unknown key",
    "cases: [{name: a, claims: {}, mcp: {}, request: {body: x}, expect: {mapping: m}}]": "exclude each other",
    "cases: [{name: a, claims: {}, expect: {mapping: m}}, {name: a, claims: {}, expect: {mapping: m}}]": "used twice",
}


@pytest.mark.parametrize("text", BAD)
def test_a_file_that_cannot_be_meant_is_bad_input(run, text):
    with pytest.raises(ConfigError) as raised:
        document.parse(text)
    assert BAD[text] in str(raised.value)
    result = run(text)
    assert (result.exit_code, BAD[text] in result.output) == (2, True)


def test_a_missing_file_and_a_report_that_cannot_be_written_are_bad_input(run, tmp_path):
    missing = run([case({"mapping": None})], str(tmp_path / "none.yaml"))
    assert (missing.exit_code, "No such file" in missing.output) == (2, True)
    unwritable = run([case({"mapping": None})], "--junit", str(tmp_path / "none" / "junit.xml"))
    assert (unwritable.exit_code, "No such file" in unwritable.output) == (2, True)


def test_coverage_is_what_a_count_by_hand_gives(run):
    # By hand: admins, dev and read match; nothing is denied, and the ceiling lowers nothing. Of dev's halves,
    # case b needs level, and case c the group; no case has the group and fails both of the others.
    cases = [
        {**case({"mapping": "admins"}, {"groups": ["admins"]}), "name": "a"},
        {**case({"mapping": "dev"}, {"groups": ["dev"], "level": 3}), "name": "b"},
        {**case({"mapping": None}, {"groups": [], "level": 3}), "name": "c"},
        {
            **case({"mapping": "read"}, {"groups": ["read"], "act": {"sub": "agent"}}),
            "name": "lowers nothing",
        },
    ]
    result = run(cases, "--coverage")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[:-1] == [
        "coverage: 3 of 5 mappings and ceilings, 2 of 4 halves of && and || decided a case",
        "  mapping no-rm: never decisive",
        "  mapping dev: claims.level > 2 || has(claims.senior): never decisive",
        "  mapping dev: has(claims.senior): never decisive",
        "  ceiling agents: never decisive",
    ]
    assert run(cases, "--require-coverage").exit_code == 1


def test_full_coverage(run):
    cases = [
        {**case({"denied": "policy_denied"}, mcp={"tool": "rm"}), "name": "a"},
        {**case({"mapping": "read"}, {"groups": ["admins"], "act": {"sub": "agent"}}), "name": "b"},
        {**case({"mapping": "dev"}, {"groups": ["dev"], "level": 3}), "name": "c"},
        {**case({"mapping": "dev"}, {"groups": ["dev"], "level": 1, "senior": True}), "name": "d"},
        {**case({"mapping": None}, {"level": 3}), "name": "e"},
        {**case({"mapping": "read"}, {"groups": ["read"]}), "name": "f"},
        {**case({"mapping": None}, {"groups": ["dev"], "level": 1}), "name": "g"},
    ]
    result = run(cases, "--require-coverage")
    assert (result.exit_code, result.output.splitlines()[0]) == (
        0,
        "coverage: 5 of 5 mappings and ceilings, 4 of 4 halves of && and || decided a case",
    )


def test_a_half_that_is_needed_only_where_the_other_fails_is_decisive(run):
    # Without has() the mapping would apply to nobody else, but the deny rule would to tokens without level.
    settings = {**SETTINGS, "ceilings": []}
    guarded = {"name": "low", "matcher": "has(claims.level) && claims.level < 3", "effect": "deny"}
    settings["role_mappings"] = [guarded, *SETTINGS["role_mappings"][1:]]
    result = run([case({"mapping": None})], "--coverage", settings=settings)
    assert "low: has(claims.level): never decisive" not in result.output
    assert "low: claims.level < 3: never decisive" in result.output


def test_sixty_rules_and_a_hundred_cases_take_seconds(run):
    rules = [
        {
            "name": f"r{n}",
            "matcher": f'"g{n}" in claims.groups && claims.level > {n % 5}',
            "role_arn": ROLE + "R",
        }
        for n in range(60)
    ]
    settings = {**SETTINGS, "role_mappings": rules, "ceilings": []}
    cases = [
        {**case({"mapping": f"r{n % 60}"}, {"groups": [f"g{n % 60}"], "level": 9}), "name": f"c{n}"}
        for n in range(100)
    ]
    began = time.process_time()
    result = run(cases, "--coverage", settings=settings)
    assert result.exit_code == 0, result.output[-500:]
    assert time.process_time() - began < 10


OPERANDS = {
    "a && (b || c)": ["a", "b || c", "b", "c"],
    "!(a && b)": ["a", "b"],
    "x ? a && b : c": ["a && b", "c", "a", "b"],
    "a ? b : c ? d : e": ["b", "c ? d : e", "d", "e"],
    "a ? b ? c : d : e": ["b ? c : d", "e", "c", "d"],
    "l.exists(g, g == 1 || g == 2) && z": ["l.exists(g, g == 1 || g == 2)", "z", "g == 1", "g == 2"],
    '{"a": b && c, "d": e}["a"]': ["b", "c"],
    '"a && b" == x || y': ['"a && b" == x', "y"],
    "a": [],
}


@each_case("source", OPERANDS)
def test_operands_are_found_at_any_depth_and_taken_out_one_at_a_time(source):
    found = list(operands(source))
    assert [operand for operand, _ in found] == OPERANDS[source]
    for operand, rest in found:
        parse(rest)
        assert len(rest) < len(source) + 2
        assert operand in source


def test_operands_inside_of_negations_branches_and_macros_are_counted(run):
    settings = {**SETTINGS, "ceilings": []}
    matcher = '!(has(claims.act) || has(claims.robot)) && claims.groups.exists(g, g == "x" || g == "y")'
    settings["role_mappings"] = [{"name": "m", "matcher": matcher, "role_arn": ROLE + "M"}]
    cases = [
        {**case({"mapping": "m"}, {"groups": ["x"]}), "name": "a"},
        {**case({"mapping": None}, {"groups": ["x"], "act": {"sub": "s"}}), "name": "b"},
    ]
    result = run(cases, "--coverage", settings=settings)
    assert result.exit_code == 0, result.output
    uncovered = [line.strip() for line in result.output.splitlines() if "never decisive" in line]
    assert uncovered == [
        'mapping m: claims.groups.exists(g, g == "x" || g == "y"): never decisive',
        "mapping m: has(claims.robot): never decisive",
        'mapping m: g == "y": never decisive',
    ]


def test_a_case_fails_where_the_engines_disagree(run, monkeypatch):
    pytest.importorskip("cel_expr_python")
    given = case({"mapping": "dev"}, {"groups": ["dev"], "level": 3})
    assert run([given]).exit_code == 0
    monkeypatch.setattr(SecondEngine, "_theirs", lambda *_: None)
    result = run([given])
    assert result.exit_code == 1
    assert (
        "dev: the engines disagree: its condition is true, and by cel-expr-python an error" in result.output
    )


def test_without_the_second_engine_cases_are_decided_once(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    assert run([case({"mapping": "dev"}, {"groups": ["dev"], "level": 3})]).exit_code == 0
