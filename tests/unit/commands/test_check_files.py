"""``extproc check`` warns of the listener's files: they may be on another machine."""

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main
from support.certificates import LOCAL, Authority


@pytest.fixture
def pair(tmp_path):
    return Authority(tmp_path).issue("server", *LOCAL)


def check(tmp_path, pair):
    document = {
        "listen": {"tls": {"certificate": str(pair.certificate), "private_key": str(pair.key)}},
        "resource": {"url": "https://mcp.example/mcp"},
        "issuers": [{"issuer": "https://idp.example", "audiences": ["https://mcp.example/mcp"]}],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "fallback_role_arn": "arn:aws:iam::123456789012:role/R",
    }
    path = tmp_path / "extproc.yaml"
    path.write_text(yaml.safe_dump(document))
    return CliRunner().invoke(main, ["check", "--config", str(path)])


def test_usable_files_are_silent(tmp_path, pair):
    result = check(tmp_path, pair)
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_missing_file_is_a_warning(tmp_path, pair):
    pair.key.unlink()
    result = check(tmp_path, pair)
    assert result.exit_code == 0
    assert result.stderr == f"warning: listen.tls: {pair.key}: No such file or directory\n"
