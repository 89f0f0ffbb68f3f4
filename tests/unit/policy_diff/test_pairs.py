"""``extproc diff`` names each difference of two configurations, and nothing else."""

import copy
import json
import time
from pathlib import Path
from random import Random

import pytest
import yaml
from click.testing import CliRunner

from extproc.app.factories import build_policy
from extproc.cli import main
from extproc.config.document import validate
from extproc.policy_diff.outcome import compare, outcome_of
from extproc.policy_diff.report import compared, facts, lines
from extproc.values import Identity
from support.tables import each_case

DATA = yaml.load((Path(__file__).parent / "pairs.yaml").read_text(), yaml.CSafeLoader)
ROLE = "arn:aws:iam::123456789012:role/"


def report(old, new):
    before, after = (validate(copy.deepcopy({**DATA["base"], **members})) for members in (old, new))
    return compared(before, after, (build_policy(before), build_policy(after)))


@each_case("pair", DATA["pairs"], ids=lambda pair: pair["name"])
def test_a_pair_differs_as_listed(pair):
    found = report(pair["old"], pair["new"])
    assert list(lines(found)) == pair["says"]
    assert found.gives_more is pair["gives_more"]
    json.dumps(facts(found))


@each_case("pair", DATA["pairs"], ids=lambda pair: pair["name"])
def test_a_configuration_does_not_differ_from_itself(pair):
    assert not report(pair["new"], pair["new"]).differs


def test_sixty_rules_are_compared_in_seconds():
    rules = [
        {
            "name": f"r{n}",
            "matcher": f'"g{n}" in claims.groups && claims.level > {n % 5} && mcp.tool != "t{n}"',
            "role_arn": f"{ROLE}R{n}",
        }
        for n in range(60)
    ]
    began = time.process_time()
    found = report(
        {"role_mappings": rules, "ceilings": []}, {"role_mappings": rules[:57] + rules[58:], "ceilings": []}
    )
    assert {entry.before.mapping for entry in found.rules} == {"r57"}
    assert {entry.after.mapping for entry in found.rules} == {"r58", "r59", None}
    assert time.process_time() - began < 20


@pytest.fixture
def run(tmp_path):
    def diff(old, new, *options):
        for name, members in (("old", old), ("new", new)):
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**DATA["base"], **members}))
        return CliRunner().invoke(
            main, ["diff", str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml"), *options]
        )

    return diff


def test_the_exit_status_says_whether_anybody_gets_more(run):
    less, more = {"ceilings": []}, {}
    assert run(more, more).exit_code == run(less, more).exit_code == 0
    assert run(more, less).exit_code == 1
    assert run(more, less, "--fail-on", "never").exit_code == 0
    assert run(less, more, "--fail-on", "any").exit_code == 1
    assert run(more, more, "--fail-on", "any").exit_code == 0


def test_a_bad_configuration_is_bad_input(run):
    assert run({"nonsense": 1}, {}).exit_code == 2
    assert run({}, {"nonsense": 1}).exit_code == 2


def test_given_claims_are_decided_under_both(run, tmp_path):
    claims = tmp_path / "claims"
    claims.mkdir()
    result = run({}, {}, "--claims", str(claims))
    assert (result.exit_code, "no file *.json" in result.output) == (2, True)
    (claims / "alice.json").write_text('{"sub": "alice", "groups": ["guests"]}')
    (claims / "bob.json").write_text('{"sub": "bob", "groups": ["admins"]}')
    result = run({}, {"fallback_role_arn": ROLE + "Guest"}, "--claims", str(claims))
    assert result.exit_code == 1
    assert "claims: 1 of 2 are decided otherwise" in result.output
    assert f"widened: alice.json: denied (no_role), now {ROLE}Guest by fallback_role_arn" in result.output
    document = json.loads(
        run({}, {"fallback_role_arn": ROLE + "Guest"}, "--claims", str(claims), "--json").output
    )
    assert document["claims"]["examined"] == 2
    assert [entry["name"] for entry in document["claims"]["differences"]] == ["alice.json"]
    (claims / "carol.json").write_text("[]")
    result = run({}, {}, "--claims", str(claims))
    assert (result.exit_code, "carol.json: claims:" in result.output) == (2, True)


def test_a_setting_that_is_not_known_counts_as_more(monkeypatch):
    monkeypatch.setattr("extproc.policy_diff.settings._OF_THE_SERVER", frozenset())
    found = report({}, {"drain_seconds": 1.0})
    assert (found.gives_more, next(iter(lines(found)))) == (True, "drain_seconds")
    monkeypatch.undo()
    assert not report({}, {"drain_seconds": 1.0}).gives_more


def test_rules_that_are_too_many_to_search_count_as_more(monkeypatch):
    monkeypatch.setattr("extproc.policy_diff.witness.MAX_STEPS", 1)
    found = report({}, {"ceilings": []})
    assert found.gives_more
    assert any("the rules are too many to be sure" in line for line in lines(found))


ATOMS = [
    '"a" in claims.groups',
    '"b" in claims.groups',
    "has(claims.act)",
    'claims.team == "x"',
    'claims.team in ["x", "y"]',
    "claims.level > 2",
    "claims.level >= 2",
    "agents != []",
    '"bot" in agents',
    'claims.team.startsWith("x")',
]
CLAIMS = [
    {"sub": "u", "groups": groups, **team, **level, **act}
    for groups in ([], ["a"], ["b"], ["a", "b"])
    for team in ({}, {"team": "x"}, {"team": "y"}, {"team": "xy"})
    for level in ({}, {"level": 2}, {"level": 3}, {"level": 1})
    for act in ({}, {"act": {"sub": "bot"}}, {"act": {"sub": "other"}})
]


def some_condition(random, depth=2):
    if depth == 0 or random.random() < 0.3:
        return random.choice(ATOMS)
    kind = random.choice(["&&", "||", "!"])
    if kind == "!":
        return f"!({some_condition(random, depth - 1)})"
    return f"({some_condition(random, depth - 1)} {kind} {some_condition(random, depth - 1)})"


def some_policy(random):
    rules = []
    for n in range(random.randint(1, 3)):
        deny = random.random() < 0.3
        rules.append(
            {
                "name": f"r{n}",
                "matcher": some_condition(random),
                **({"effect": "deny"} if deny else {"role_arn": f"{ROLE}{random.choice('PQ')}"}),
            }
        )
    rules.append({"name": "last", "matcher": '"b" in claims.groups', "role_arn": ROLE + "L"})
    ceilings = (
        [{"name": "c", "matcher": some_condition(random), "max_mapping": "last"}]
        if random.random() < 0.4
        else []
    )
    return {"role_mappings": rules, "ceilings": ceilings}


@each_case("seed", range(10))
def test_whatever_is_decided_otherwise_is_reported(seed):
    random = Random(seed)
    old, new = some_policy(random), some_policy(random)
    if random.random() < 0.5:
        new = copy.deepcopy(old)
        new["role_mappings"][0]["matcher"] = some_condition(random)
    found = report(old, new)
    policies = [build_policy(validate({**copy.deepcopy(DATA["base"]), **members})) for members in (old, new)]
    decided = set()
    for claims in CLAIMS:
        identity = Identity("https://idp.example.com/", "u", 0, claims, None)
        one, other = (outcome_of(policy.decide(identity).outcome) for policy in policies)
        comparison = compare(one, other)
        if comparison is not None:
            decided.add((one.denied, one.role, other.denied, other.role))
    reported = {(e.before.denied, e.before.role, e.after.denied, e.after.role) for e in found.rules}
    # Roles that both get under an equal ceiling are left out where the same users are reported without it.
    assert {each for each in decided if None in (each[1], each[3])} <= reported
    if decided:
        assert found.differs
