"""``extproc run`` before anything starts: bad input and taken ports are named, and nothing is left behind."""

import socket

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main
from extproc.commands.run_gateway import addresses, default_listen
from extproc.demo.ports import free_ports
from extproc.envoyconf.options import EnvoyOptions
from support.settings import minimal_settings

ROLE = "arn:aws:iam::123456789012:role/All"


@pytest.fixture
def path(tmp_path):
    grpc, admin = free_ports(2)
    document = {
        "listen": {"grpc": f"127.0.0.1:{grpc}", "admin": f"127.0.0.1:{admin}"},
        "resource": {"url": "https://mcp.example.com/mcp"},
        "issuers": [{"issuer": "https://idp.example.com/", "audiences": ["https://mcp.example.com/mcp"]}],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "fallback_role_arn": ROLE,
    }
    path = tmp_path / "extproc.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def run(path, *options):
    return CliRunner().invoke(main, ["run", "--config", str(path), *options])


@pytest.mark.parametrize("option", ["--listen", "--admin"])
def test_a_port_in_use_is_named_before_anything_starts(path, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run(path, option, address)
    assert result.exit_code == 1
    assert result.stderr == f"run     | {option} {address}: cannot listen there; does another process?\n"


def test_an_envoy_that_is_no_program_is_named(path):
    (listen, admin) = free_ports(2)
    result = run(
        path, "--listen", f"127.0.0.1:{listen}", "--admin", f"127.0.0.1:{admin}", "--envoy", str(path)
    )
    assert result.exit_code == 1
    assert result.stderr.startswith(f"run     | --envoy {path}: no program that can be run; name an Envoy")


def test_a_configuration_that_is_no_good_is_exit_2(path):
    path.write_text("issuers: []\n")
    assert run(path).exit_code == 2


def test_addresses_that_contradict_each_other_are_exit_2(path):
    assert run(path, "--listen", "nowhere").exit_code == 2


@pytest.mark.parametrize(
    ("url", "listen"),
    [
        ("http://localhost:10123/mcp", "127.0.0.1:10123"),
        ("http://127.0.0.1:8080/mcp", "127.0.0.1:8080"),
        ("http://localhost/mcp", "127.0.0.1:10000"),
        ("https://localhost:10123/mcp", "127.0.0.1:10000"),
        ("https://mcp.example.com/mcp", "127.0.0.1:10000"),
    ],
)
def test_clients_find_envoy_where_the_resource_is(url, listen):
    assert default_listen(minimal_settings(fallback_role_arn=ROLE, resource={"url": url})) == listen


def test_a_resource_elsewhere_is_named_beside_the_address(path):
    lines = addresses(minimal_settings(fallback_role_arn=ROLE), EnvoyOptions(), path, path)
    assert lines[0] == "ready"
    assert any("its host must lead here" in line for line in lines)
    assert any(f"extproc connect claude-code --config {path}" in line for line in lines)
