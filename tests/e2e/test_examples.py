"""Every configuration in ``envoy/``: accepted by the real Envoy, and one real request through it."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from extproc.demo.stack import Stack, find_program
from support.http import client

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "envoy").glob("*/envoy.yaml"))
PREFIX = {"several-targets": "/aws"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_envoy_accepts_the_example(name):
    path = ROOT / "envoy" / name / "envoy.yaml"
    command = [find_program("envoy"), "--mode", "validate", "-c", str(path), "--log-level", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [["--placement", "upstream"], []])
def test_envoy_accepts_downstream_tls(tmp_path, options):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    _self_signed(key, certificate)
    settings = str(ROOT / "envoy" / "several-targets" / "extproc.yaml")
    tls = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    command = [sys.executable, "-m", "extproc", "envoy", "--config", settings, *tls, *options]
    rendered = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    (tmp_path / "envoy.yaml").write_bytes(rendered)
    command = [find_program("envoy"), "--mode", "validate", "-c", str(tmp_path / "envoy.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _self_signed(key_path, certificate_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mcp.example")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    key_path.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_path.write_bytes(certificate.public_bytes(encoding))


@pytest.fixture(params=EXAMPLES)
def example_stack(request, tmp_path):
    """The stack under an example's own two files; only addresses, issuer and roles are the stack's."""
    folder = ROOT / "envoy" / request.param
    example = yaml.safe_load((folder / "extproc.yaml").read_text())
    sockets = {"grpc": None}

    def adjust(text):
        stacks = yaml.safe_load(text)
        ours = {**example, **{key: stacks[key] for key in stacks if key != "targets"}}
        if example["listen"]["grpc"].startswith("unix:"):
            sockets["grpc"] = ours["listen"]["grpc"] = f"unix:{tmp_path}/s"
        return yaml.safe_dump(ours)

    def adjust_envoy(_rendered):
        document = yaml.safe_load((folder / "envoy.yaml").read_text())
        at = stack.addresses
        _move(document["admin"]["address"], at.envoy_admin)
        _move(document["static_resources"]["listeners"][0]["address"], at.envoy)
        for cluster in document["static_resources"]["clusters"]:
            (place,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
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

    stack = Stack(tmp_path, adjust=adjust, adjust_envoy=adjust_envoy)
    stack.prefix = PREFIX.get(request.param, "")
    with stack:
        yield stack


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
