"""What is pasted into clients: the endpoint is in it, quoted for where it goes, and the documents show the same."""

import ast
import json
import re
import shlex
from pathlib import Path

import hypothesis
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from extproc.cli import main
from extproc.commands import connect
from extproc.connect.clients import CLIENTS
from extproc.connect.endpoint import Endpoint, EndpointError
from support.tables import each_case

PAGE = Path(__file__).parents[2] / "docs" / "connect.md"
URL = "https://mcp.example.com/mcp"
IN_JSON = ("claude", "cursor", "vscode", "windsurf")
urls = st.from_regex(r"https://[a-z]{1,9}/[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]{0,20}", fullmatch=True)
ids = st.none() | st.from_regex(r"[\x21-\x7e]{1,20}", fullmatch=True)


def document(text):
    return json.loads("\n".join(line for line in text.splitlines() if not line.startswith("#")))


def test_the_command_offers_exactly_the_clients_that_there_are():
    assert tuple(CLIENTS) == connect.CLIENTS


def test_the_url_is_that_of_the_option_or_of_the_configuration(tmp_path):
    path = tmp_path / "extproc.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "resource": {"url": URL},
                "issuers": [{"issuer": "https://idp.example.com/", "audiences": [URL]}],
                "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
                "fallback_role_arn": "arn:aws:iam::123456789012:role/All",
            }
        )
    )
    for options, url in ((["--config", str(path)], URL), (["--url", "http://x/"], "http://x/")):
        result = CliRunner().invoke(main, ["connect", "vscode", *options])
        assert document(result.stdout)["servers"]["aws"]["url"] == url
    assert CliRunner().invoke(main, ["connect", "vscode"]).exit_code == 2
    assert CliRunner().invoke(main, ["connect", "vscode", "--url", "ftp://x/"]).exit_code == 2
    assert CliRunner().invoke(main, ["connect", "vscode", "--url", URL, "--name", "a b"]).exit_code == 2


@given(urls, ids)
def test_configurations_are_json_with_the_url_and_the_id(url, client_id):
    for name in IN_JSON:
        found = json.dumps(document(CLIENTS[name](Endpoint(url, client_id=client_id))))
        assert json.dumps(url) in found
        if client_id is not None:
            assert json.dumps(json.dumps(client_id))[1:-1] in found or json.dumps(client_id) in found


@given(urls, ids)
def test_a_shell_reads_the_url_as_one_word(url, client_id):
    for name in ("claude-code", "codex", "inspector", "opencode"):
        text = CLIENTS[name](Endpoint(url, client_id=client_id))
        if name == "opencode" and client_id is not None:
            assert document(text)["mcp"]["aws"]["oauth"] == {"clientId": client_id}
            continue
        words = shlex.split(text, comments=True)
        assert url in words
        if client_id is not None and name != "inspector":
            assert client_id in words


@hypothesis.settings(max_examples=10)
@given(urls, ids)
def test_programs_have_the_url_and_the_id_as_literals(url, client_id):
    endpoint = Endpoint(url, client_id=client_id)
    program = ast.parse(CLIENTS["python"](endpoint))
    constants = {}
    for node in program.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            constants[target.id] = node.value.value
    assert (constants["URL"], constants["CLIENT_ID"]) == (url, client_id)
    script = CLIENTS["typescript"](endpoint)
    assert f"const URL_DEFAULT = {json.dumps(url)};" in script
    assert f"const CLIENT_ID = {'undefined' if client_id is None else json.dumps(client_id)};" in script


@each_case(
    "given", [{"url": "x"}, {"url": URL + "\n"}, {"url": URL + '"'}, {"name": "$(x)"}, {"client_id": "a b"}]
)
def test_what_no_client_takes_is_refused(given):
    with pytest.raises(EndpointError):
        Endpoint(**{"url": URL, **given})


def test_the_page_shows_what_is_printed_for_each_client():
    page = PAGE.read_text()
    for name, text in CLIENTS.items():
        assert f"\n## `{name}`\n" in page
        if name not in ("python", "typescript"):
            assert f"\n```\n{text(Endpoint(URL))}```\n" in page, name
    assert set(re.findall(r"^## `(.*)`$", page, re.MULTILINE)) == set(CLIENTS)
