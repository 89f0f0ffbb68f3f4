"""Every configuration in ``envoy/``: accepted by the real Envoy, and one real request through it."""

import secrets
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from extproc import config
from extproc.cli import main
from extproc.demo.settings import extproc_yaml
from extproc.demo.stack import find_program
from extproc.envoyconf.istio import render_istio
from extproc.envoyconf.options import EnvoyOptions
from support.certificates import Authority, dns, uri
from support.http import client
from support.istio import gateway, patched
from support.stacks import Stack

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "envoy").glob("*/envoy.yaml"))
PREFIX = {"several-targets": "/aws"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_envoy_accepts_the_example(name, tmp_path, tls_directories):
    path = tmp_path / "envoy.yaml"
    path.write_text(yaml.safe_dump(_with_files(ROOT / "envoy" / name / "envoy.yaml", tls_directories)))
    command = [find_program("envoy"), "--mode", "validate", "-c", str(path), "--log-level", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["before.yaml", "after.yaml"])
def test_envoy_accepts_the_example_of_an_envoy_that_exists(name):
    path = str(ROOT / "docs" / "own-envoy" / name)
    command = [find_program("envoy"), "--mode", "validate", "-c", path, "--log-level", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_envoy_accepts_a_gateway_of_istio_with_our_patches(tmp_path):
    settings = config.load(ROOT / "envoy" / "several-targets" / "extproc.yaml")
    resource = yaml.safe_load(
        render_istio(
            settings,
            EnvoyOptions(
                extproc_addresses=("a:1", "b:1"),
                extproc_ca="/etc/ssl/certs/ca-certificates.crt",
                extproc_name="extproc",
            ),
        )
    )
    path = tmp_path / "envoy.yaml"
    path.write_text(
        yaml.safe_dump(patched(gateway("mcp.example.com:443"), resource["spec"]["configPatches"]))
    )
    command = [find_program("envoy"), "--mode", "validate", "-c", str(path), "--log-level", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [["--placement", "upstream"], []])
def test_envoy_accepts_downstream_tls(tmp_path, options):
    pair = Authority(tmp_path).issue("mcp.example")
    settings = str(ROOT / "envoy" / "several-targets" / "extproc.yaml")
    tls = ["--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)]
    command = ["envoy", "--config", settings, *tls, *options]
    rendered = CliRunner().invoke(main, command, catch_exceptions=False).stdout
    (tmp_path / "envoy.yaml").write_text(rendered)
    command = [find_program("envoy"), "--mode", "validate", "-c", str(tmp_path / "envoy.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def tls_directories(tmp_path):
    """What lies in ``/etc/SIDE/tls`` in the examples, by side."""
    authority = Authority(tmp_path)
    directories = {}
    for side, name in (("extproc", dns("extproc.internal")), ("envoy", uri("spiffe://example.org/envoy"))):
        directories[side] = tmp_path / f"{side}-tls"
        directories[side].mkdir()
        pair = authority.issue(side, name)
        pair.certificate.rename(directories[side] / "tls.crt")
        pair.key.rename(directories[side] / "tls.key")
        (directories[side] / "ca.crt").write_bytes(authority.certificate.read_bytes())
    return directories


def _with_files(path, directories):
    """A YAML file of an example, with directories that exist."""
    text = path.read_text()
    for side, directory in directories.items():
        text = text.replace(f"/etc/{side}/tls", str(directory))
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """A stack without its server and its Envoy."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.start_services()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(params=EXAMPLES)
def example_stack(request, services, tmp_path, tls_directories):
    """The stack under an example's own two files; only addresses, issuer and roles are the stack's."""
    stack = services
    folder = ROOT / "envoy" / request.param
    example = yaml.safe_load((folder / "extproc.yaml").read_text())
    sockets = {"grpc": None}

    def settings():
        stacks = yaml.safe_load(extproc_yaml(stack.addresses))
        ours = {**example, **{key: stacks[key] for key in stacks if key != "targets"}}
        if "shared" in example.get("cache", {}):  # without a store: then nothing is shared
            secret = tmp_path / "secret"
            secret.write_text(secrets.token_hex(32))
            ours["cache"]["shared"]["secret_file"] = str(secret)
        if "tls" in example["listen"]:
            ours["listen"]["tls"] = _with_files(folder / "extproc.yaml", tls_directories)["listen"]["tls"]
        if example["listen"]["grpc"].startswith("unix:"):
            sockets["grpc"] = ours["listen"]["grpc"] = f"unix:{tmp_path}/s"
        return yaml.safe_dump(ours)

    def bootstrap():
        document = _with_files(folder / "envoy.yaml", tls_directories)
        at = stack.addresses
        _move(document["admin"]["address"], at.envoy_admin)
        _move(document["static_resources"]["listeners"][0]["address"], at.envoy)
        for cluster in document["static_resources"]["clusters"]:
            places = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            place = places[0]
            del places[1:]  # the stack has one instance
            if cluster["name"].startswith("jwks_"):
                cluster.pop("transport_socket", None)
                _move(place["endpoint"]["address"], at.idp)
            elif cluster["name"] != "extproc":
                cluster.pop("transport_socket", None)  # the demo's upstream speaks clear text
                _move(place["endpoint"]["address"], at.mcp)
            elif sockets["grpc"] is None:
                _move(place["endpoint"]["address"], at.extproc)
            else:
                place["endpoint"]["address"]["pipe"]["path"] = sockets["grpc"].removeprefix("unix:")
        return yaml.safe_dump(document)

    stack.prefix = PREFIX.get(request.param, "")
    stack.control("mcp", "reset", {})
    (stack.directory / "extproc.yaml").write_text(settings())
    (stack.directory / "envoy.yaml").write_text(bootstrap())
    try:
        for part in ("extproc", "envoy"):
            stack.start_part(part)
        for part in ("extproc", "envoy"):
            stack.wait_ready(part)
        yield stack
    finally:
        for part in ("envoy", "extproc"):
            if part in stack.processes:
                stack.stop_part(part)


def _move(address, to):
    host, _, port = to.rpartition(":")
    address["socket_address"].update(address=host, port_value=int(port))


async def test_one_real_request_through_the_example(example_stack):
    stack = example_stack
    url = f"http://{stack.addresses.envoy}{stack.prefix}/echo"
    async with client(token=stack.token("demo-admin")) as http:
        answer = await http.post(url, content=b"x" * 2_000_000)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["raw_path"], answer.json()["body_length"]) == ("/echo", 2_000_000)
        assert (await http.get(f"{url}?b=2&a=1")).status_code == 200
    async with client() as http:
        challenged = await http.post(url, content=b"{}")
        metadata = await http.get(f"http://{stack.addresses.envoy}/.well-known/oauth-protected-resource")
    assert challenged.status_code == 401
    assert "resource_metadata=" in challenged.headers["www-authenticate"]
    assert metadata.status_code == 200
    stats = stack.control("mcp", "stats")
    assert stats["received"] == stats["verified"] == 2
    assert stats["bearer_seen"] == 0
