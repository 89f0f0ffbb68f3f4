"""``extproc test --suggest``: cases for what decided none, which pass and decide it."""

import yaml
from click.testing import CliRunner

from extproc.cli import main

ROLE = "arn:aws:iam::123456789012:role/"
SETTINGS = {
    "resource": {"url": "https://mcp.example.com/mcp"},
    "issuers": [
        {"issuer": "https://idp.example.com/", "audiences": ["https://mcp.example.com/mcp"]},
        {"issuer": "https://partner.example.net", "audiences": ["https://mcp.example.com/mcp"]},
    ],
    "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
    "role_mappings": [
        {"name": "no-rm", "matcher": 'mcp.tool == "rm" && mcp.arguments.force == true', "effect": "deny"},
        {"name": "admins", "claim": "admins", "role_arn": ROLE + "Admin", "require_scopes": ["adm"]},
        {
            "name": "dev",
            "matcher": '"dev" in claims.groups && (claims.level > 2 || has(claims.senior))'
            ' && !(claims.email.startsWith("x") || has(claims.robot))',
            "role_arn": ROLE + "Dev",
        },
        {
            "name": "read",
            "claim": "read",
            "role_arn": ROLE + "Read",
            "issuers": ["https://partner.example.net"],
        },
    ],
    "ceilings": [
        {"name": "agents", "matcher": 'agents != [] && claims.azp != "cli"', "max_mapping": "read"},
        {
            "name": "bots",
            "matcher": '"bot" in agents',
            "policy_arns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        },
    ],
    "fallback_role_arn": ROLE + "Guest",
}
FIRST = "cases: [{name: first, claims: {sub: x}, expect: {mapping: null}}]"


def run(folder, *arguments):
    return CliRunner().invoke(main, ["test", "--config", str(folder / "extproc.yaml"), *map(str, arguments)])


def prepared(folder, settings=SETTINGS):
    (folder / "extproc.yaml").write_text(yaml.safe_dump(settings))
    (folder / "first.yaml").write_text(FIRST)
    return folder / "first.yaml", folder / "more.yaml"


def test_suggested_cases_pass_and_with_them_everything_decides_a_case(tmp_path):
    first, more = prepared(tmp_path)
    result = run(tmp_path, first, "--suggest", more)
    assert (result.exit_code, "0 rules and halves are still never decisive" in result.output) == (0, True), (
        result.output
    )
    result = run(tmp_path, first, more, "--require-coverage")
    assert result.exit_code == 0, result.output
    assert more.read_text().startswith("# Read each case")


def test_what_cannot_be_made_to_decide_is_left_out(tmp_path):
    opaque = {
        "name": "opaque",
        "matcher": 'claims.email.matches("^a.c$") && has(claims.b)',
        "role_arn": ROLE + "O",
    }
    first, more = prepared(tmp_path, {**SETTINGS, "role_mappings": [opaque], "ceilings": []})
    result = run(tmp_path, first, "--suggest", more)
    assert result.exit_code == 0, result.output
    assert "are still never decisive" in result.output
    assert run(tmp_path, first, more).exit_code == 0 or not yaml.safe_load(more.read_text())["cases"]


def test_a_file_that_exists_is_not_replaced(tmp_path):
    first, more = prepared(tmp_path)
    more.write_text("mine")
    result = run(tmp_path, first, "--suggest", more)
    assert (result.exit_code, more.read_text(), "File exists" in result.output) == (2, "mine", True)
