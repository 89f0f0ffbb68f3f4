"""``extproc explain``, and the warnings of ``extproc check`` about rules."""

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
    shown = json.loads(result.stdout)
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
    assert {name: shown[name] for name in contract} == contract
    looked_at = [
        (entry["name"], entry["priority"], entry["matched"], entry["error"]) for entry in shown["evaluated"]
    ]
    assert looked_at == [("no-rm", 0, False, None), ("admins", 1, True, None)]
    assert [(entry["name"], entry["matched"]) for entry in shown["ceilings"]] == [("agents", False)]
    assert shown["not_tried"] == [{"kind": "mapping", "name": "teams"}]


def test_a_ceiling_and_the_session_policy_it_leads_to_show(run):
    result = run({"sub": "alice", "groups": ["admins"], "act": {}}, None, "--json")
    shown = json.loads(result.stdout)
    assert (shown["mapping"], shown["role_arn"]) == ("teams", ROLE + "Team")
    assert shown["policy_arns"] == ["arn:aws:iam::aws:policy/ReadOnlyAccess"]


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


def test_users_get_rules_results_and_the_role(run):
    shown = run({"sub": "alice", "groups": ["admins"]}).stdout
    assert "mapping no-rm: no match" in shown
    assert "mappings not tried: teams" in shown
    assert f"allowed: {ROLE}Admin" in shown
    denied = run({"sub": "alice"}, {"body": call("rm")}).stdout
    assert "denied: policy_denied (403)" in denied


def test_names_are_shown_as_they_are_and_never_as_markup(run):
    mappings = [{"name": "[bold]x[/bold]", "matcher": "true", "role_arn": ROLE + "A"}]
    settings = {**SETTINGS, "role_mappings": mappings, "ceilings": []}
    assert "[bold]x[/bold]" in run({"sub": "alice"}, settings=settings).stdout


def test_check_warns_on_standard_error_and_shows_what_each_rule_reads(tmp_path):
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
        'mapping teams: reads request.headers["x-team"]',
        "mapping twice: reads claims.groups",
        "ceiling agents: reads claims.act",
    ]


def test_nothing_in_a_token_controls_the_terminal(run):
    shown = run({"sub": "alice", "\x1b[31mred": 1}, settings=NEEDS_A_CLAIM).stdout
    assert "\x1b" not in shown
    assert "\\x1b[31mred" in shown


def test_missing_is_distinguished_from_false_and_shown_with_what_is_there(run):
    shown = run({"sub": "alice", "team": "b"}, settings=NEEDS_A_CLAIM).stdout
    assert "claims.level is missing\n" in shown
    assert 'claims.team == "a" is false\n' in shown
    assert "the token has the claims sub, team\n" in shown


def test_an_error_is_shown_at_the_part_that_has_it(run):
    shown = run({"sub": "alice", "level": "x", "team": "b"}, settings=NEEDS_A_CLAIM).stdout
    assert "mapping levels: ERROR\n" in shown
    assert "int(claims.level) > 3: " in shown
    assert "is false" not in shown


NEEDS_A_CLAIM = {
    **SETTINGS,
    "role_mappings": [
        {"name": "levels", "matcher": 'int(claims.level) > 3 || claims.team == "a"', "role_arn": ROLE + "A"}
    ],
    "ceilings": [],
}


def test_a_request_alone_is_explained_unchanged(tmp_path):
    (tmp_path / "extproc.yaml").write_text(yaml.safe_dump(SETTINGS))
    (tmp_path / "request.json").write_text("{}")
    options = ["--config", str(tmp_path / "extproc.yaml"), "--request", str(tmp_path / "request.json")]
    result = CliRunner().invoke(main, ["explain", *options])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "denied: token_missing (401)"


@pytest.mark.parametrize(
    "request_",
    [
        {"headers": {"a b": "x"}},
        {"headers": {"a": "x\ny"}},
        {"headers": {":path": "/"}},
        {"headers": [["a"]]},
        {"headers": "a: b"},
        {"method": 1},
        {"method": "GET\n"},
        {"path": "/a\0"},
        {"body": "a", "body_base64": "YQ=="},
        {"body_base64": "?"},
        {"trailers": 1},
        {"target": 1},
        {"jwt_payload": []},
    ],
)
def test_a_request_that_http_cannot_carry_is_refused(run, request_):
    result = run({"sub": "a"}, request_)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)


def test_headers_may_be_a_list_of_pairs_and_values_lists(run):
    for headers in ([["X-Team", "a"]], {"X-Team": ["a"]}, [["x-team", "a"], ["x-other", "b"]]):
        assert json.loads(run({"sub": "a"}, {"headers": headers}, "--json").stdout)["mapping"] == "teams"
    twice = run({"sub": "a"}, {"headers": [["x-team", "a"], ["x-team", "a"]]}, "--json")
    assert json.loads(twice.stdout)["reason"] == "no_role"  # joined by a comma, as rules see it
