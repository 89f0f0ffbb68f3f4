"""``extproc explain`` and what ``extproc check`` says about rules."""

import json

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main

ROLE = "arn:aws:iam::123456789012:role/"
SETTINGS = {
    "resource": {"url": "https://mcp.example.com/mcp"},
    "issuers": [{"issuer": "https://idp.example.com/", "audiences": ["https://mcp.example.com/mcp"]}],
    "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
    "session_duration": 1800,
    "role_mappings": [
        {"name": "no-rm", "matcher": 'mcp.tool == "rm"', "effect": "deny", "priority": 0},
        {"name": "admins", "claim": "admins", "role_arn": ROLE + "Admin", "priority": 1},
        {
            "name": "teams",
            "matcher": 'request.headers["x-team"] == "a"',
            "role_arn": ROLE + "Team",
            "policy_arns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        },
    ],
    "ceilings": [{"name": "agents", "matcher": "has(claims.act)", "max_mapping": "teams"}],
}


@pytest.fixture
def run(tmp_path):
    def explain(claims, request=None, *options, settings=SETTINGS):
        (tmp_path / "extproc.yaml").write_text(yaml.safe_dump(settings))
        (tmp_path / "claims.json").write_text(claims if isinstance(claims, str) else json.dumps(claims))
        arguments = ["--config", str(tmp_path / "extproc.yaml"), "--claims", str(tmp_path / "claims.json")]
        if request is not None:
            (tmp_path / "request.json").write_text(json.dumps(request))
            arguments += ["--request", str(tmp_path / "request.json")]
        return CliRunner().invoke(main, ["explain", *arguments, *options])

    return explain


def call(tool):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}


def test_an_allowed_request_is_one_json_object_and_exit_0(run):
    result = run({"sub": "alice", "groups": ["admins"]}, None, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    contract = {
        "outcome": "allow",
        "reason": None,
        "mapping": "admins",
        "role_arn": ROLE + "Admin",
        "session_name": "alice",
        "session_duration": 1800,
        "policy_arns": [],
        "policy": None,
    }
    assert {name: told[name] for name in contract} == contract
    looked_at = [
        (entry["name"], entry["priority"], entry["matched"], entry["error"]) for entry in told["evaluated"]
    ]
    assert looked_at == [("no-rm", 0, False, None), ("admins", 1, True, None)]
    assert [(entry["name"], entry["matched"]) for entry in told["ceilings"]] == [("agents", False)]
    assert told["not_tried"] == [{"kind": "mapping", "name": "teams"}]


def test_a_ceiling_and_the_session_policy_it_leads_to_show(run):
    result = run({"sub": "alice", "groups": ["admins"], "act": {}}, None, "--json")
    told = json.loads(result.stdout)
    assert (told["mapping"], told["role_arn"]) == ("teams", ROLE + "Team")
    assert told["policy_arns"] == ["arn:aws:iam::aws:policy/ReadOnlyAccess"]


@pytest.mark.parametrize(
    ("claims", "request_", "reason"),
    [
        ({"sub": "a"}, None, "no_role"),
        ({"sub": "a", "groups": ["admins"]}, {"body": call("rm")}, "policy_denied"),
        ({"sub": "a", "groups": ["admins"]}, {"body": json.dumps(call("rm"))}, "policy_denied"),
        ({"sub": "a", "groups": "admins"}, None, "policy_error"),
        ({"groups": ["admins"]}, None, "session_name_invalid"),
        ({"sub": "a"}, {"body": [call("rm")]}, "mcp_malformed"),
        ({"sub": "a"}, {"body": call("x"), "headers": {"Mcp-Name": "y"}}, "mcp_headers_differ"),
        ({"sub": "a"}, {"path": "/a/../b"}, "request_ambiguous"),
    ],
)
def test_a_denial_is_exit_1_with_its_reason(run, claims, request_, reason):
    result = run(claims, request_, "--json")
    assert (result.exit_code, json.loads(result.stdout)["reason"]) == (1, reason)


def test_headers_of_the_request_are_read(run):
    result = run({"sub": "a"}, {"headers": {"X-Team": "a"}}, "--json")
    assert json.loads(result.stdout)["mapping"] == "teams"


@pytest.mark.parametrize(
    ("claims", "request_"),
    [
        ("[]", None),
        ("{", None),
        ('{"sub": "a", "sub": "b"}', None),
        ({"sub": "a"}, {"url": "x"}),
        ({"sub": "a"}, {"path": "x"}),
        ({"sub": "a"}, {"headers": {"a": 1}}),
    ],
)
def test_bad_input_is_exit_2_and_one_line(run, claims, request_):
    result = run(claims, request_)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)


def test_people_are_told_rules_results_and_the_role(run):
    shown = run({"sub": "alice", "groups": ["admins"]}).stdout
    assert "mapping no-rm: no match" in shown
    assert "mappings not tried: teams" in shown
    assert f"ALLOW       {ROLE}Admin" in shown
    denied = run({"sub": "alice"}, {"body": call("rm")}).stdout
    assert "DENY        403 policy_denied" in denied


def test_names_are_shown_as_they_are_and_never_as_markup(run):
    mappings = [{"name": "[bold]x[/bold]", "matcher": "true", "role_arn": ROLE + "A"}]
    settings = {**SETTINGS, "role_mappings": mappings, "ceilings": []}
    assert "[bold]x[/bold]" in run({"sub": "alice"}, settings=settings).stdout


def test_check_warns_on_standard_error_and_tells_what_each_rule_reads(tmp_path):
    mappings = [*SETTINGS["role_mappings"], {"name": "twice", "claim": "admins", "role_arn": ROLE + "A"}]
    path = tmp_path / "extproc.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, "role_mappings": mappings}))
    result = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert result.exit_code == 0
    assert result.stderr == (
        "warning: mapping twice: never reached, since mapping admins has the same condition\n"
    )
    assert result.stdout.splitlines()[:5] == [
        "mapping no-rm: reads mcp.tool",
        "mapping admins: reads claims.groups",
        "mapping teams: reads request.headers.x-team",
        "mapping twice: reads claims.groups",
        "ceiling agents: reads claims.act",
    ]
