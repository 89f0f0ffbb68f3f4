"""The files a user copies: rendered Envoy configurations, the compose file, the commented example."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from click.testing import CliRunner

from extproc import config
from extproc.cli import main
from extproc.demo.settings import FIXED, extproc_yaml, service_arguments
from extproc.envoyconf.bootstrap import render
from extproc.envoyconf.options import EnvoyOptions
from support.tables import each_case

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    "aws-mcp": ["--listen", "0.0.0.0:10000"],
    "several-targets": ["--listen", "0.0.0.0:10000"],
    "upstream": ["--listen", "0.0.0.0:10000", "--placement", "upstream"],
    "uds-sidecar": ["--listen", "0.0.0.0:10000"],
    "mtls": [
        *("--listen", "0.0.0.0:10000", "--extproc", "extproc.internal:50051"),
        *("--extproc-ca", "/etc/envoy/tls/ca.crt"),
        *("--extproc-cert", "/etc/envoy/tls/tls.crt", "--extproc-key", "/etc/envoy/tls/tls.key"),
    ],
    "jwt-authn": ["--listen", "0.0.0.0:10000"],
    "demo": ["--listen", "0.0.0.0:10000", "--extproc", "127.0.0.1:50051"],
    "valkey": [
        *("--listen", "0.0.0.0:10000", "--no-affinity"),
        *("--extproc", "127.0.0.1:50051", "--extproc", "127.0.0.1:50052"),
    ],
}


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_every_example_is_listed_here():
    assert {path.name for path in (ROOT / "envoy").iterdir()} == set(EXAMPLES)


@each_case("name", EXAMPLES)
def test_the_rendered_envoy_configuration_is_what_the_command_prints(name):
    settings = str(ROOT / "envoy" / name / "extproc.yaml")
    result = CliRunner().invoke(main, ["envoy", "--config", settings, *EXAMPLES[name]])
    assert result.exit_code == 0
    assert result.output == (ROOT / "envoy" / name / "envoy.yaml").read_text()


@each_case("name", EXAMPLES)
def test_a_rendered_configuration_fails_closed_and_buffers_bodies(name):
    text = (ROOT / "envoy" / name / "envoy.yaml").read_text()
    assert text.count("failure_mode_allow: false") == 1
    assert text.count("disallow_is_error: true") == 1
    assert "failure_mode_allow: true" not in text
    assert "request_body_mode: BUFFERED" in text
    # Envoy asks us again where we could not be reached, and never the target.
    assert text.count("retry_policy:") == text.count("grpc_service:") == 1
    assert "retry_on: connect-failure,refused-stream\n" in text


@each_case("name", EXAMPLES)
def test_extproc_check_accepts_the_example(name):
    settings = str(ROOT / "envoy" / name / "extproc.yaml")
    assert CliRunner().invoke(main, ["check", "--config", settings]).exit_code == 0


def test_the_cases_of_the_example_pass_and_cover_it():
    settings = str(ROOT / "envoy" / "aws-mcp" / "extproc.yaml")
    result = CliRunner().invoke(main, ["test", "--config", settings, "--require-coverage"])
    assert result.exit_code == 0, result.output


def test_the_compose_settings_are_the_embedded_demos_with_other_addresses():
    text = (ROOT / "envoy" / "demo" / "extproc.yaml").read_text()
    assert yaml.safe_load(text) == yaml.safe_load(extproc_yaml(FIXED, listen_on_all=True))


def test_the_compose_envoy_configuration_is_the_embedded_demos_with_other_addresses():
    rendered = render(
        config.parse(extproc_yaml(FIXED)), EnvoyOptions(listen=FIXED.envoy, admin=FIXED.envoy_admin)
    )
    expected = yaml.load((ROOT / "envoy" / "demo" / "envoy.yaml").read_text(), yaml.CSafeLoader)
    assert _without_hosts(yaml.load(rendered, yaml.CSafeLoader)) == _without_hosts(expected)


def _without_hosts(node):
    if isinstance(node, dict):
        # A socket address, and the resource's own origin, are the only places with a host name or an IP address.
        return {
            key: _without_hosts(value)
            for key, value in node.items()
            if key not in ("address", "allow_origin_string_match") or isinstance(value, dict)
        }
    return [_without_hosts(child) for child in node] if isinstance(node, list) else node


@pytest.mark.parametrize("name", ["idp", "sts", "mcp"])
def test_compose_runs_the_services_with_the_embedded_demos_arguments(compose, name):
    assert _options(compose[name]["command"]) == _options(service_arguments(name, FIXED, listen_on_all=True))


def _options(arguments):
    """Module and service, then options as pairs: their order means nothing."""
    return arguments[:3], sorted(zip(arguments[3::2], arguments[4::2], strict=True))


def test_compose_publishes_on_loopback_only_and_mounts_our_configurations(compose):
    ports = [port for service in compose.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert compose["envoy"]["volumes"] == [
        "./envoy/${COMPOSE_PROFILES:-demo}/envoy.yaml:/etc/envoy/envoy.yaml:ro"
    ]
    assert compose["extproc"]["volumes"] == [
        "./envoy/${COMPOSE_PROFILES:-demo}/extproc.yaml:/etc/extproc/extproc.yaml:ro",
        "store:/run/store:ro",
    ]


def test_the_profile_valkey_adds_a_store_and_a_replica_that_differs_in_its_ports(compose):
    demo, first, second = (
        yaml.load((ROOT / "envoy" / name).read_text(), yaml.CSafeLoader)
        for name in ("demo/extproc.yaml", "valkey/extproc.yaml", "valkey/extproc-2.yaml")
    )
    shared = {"url": "valkey://127.0.0.1:6379", "secret_file": "/run/store/secret"}
    assert first == {**demo, "cache": {"shared": shared}}
    listen = {**first["listen"], "grpc": "0.0.0.0:50052", "admin": "0.0.0.0:9465"}
    assert second == {**first, "listen": listen}
    config.load(ROOT / "envoy" / "valkey" / "extproc-2.yaml")
    assert {name for name, service in compose.items() if "profiles" in service} == {"store", "extproc-2"}
    assert {*compose["store"]["profiles"], *compose["extproc-2"]["profiles"]} == {"valkey"}
    assert "--bind 127.0.0.1 " in compose["store"]["command"][0]
    # Without the profile there is no store to wait for.
    assert compose["extproc"]["depends_on"]["store"] == {"condition": "service_healthy", "required": False}


def test_the_issuer_is_the_same_to_containers_and_to_browsers_on_the_host(compose):
    """One network namespace: what the host reaches at localhost, the containers do, under the same number."""
    issuer = urlsplit(
        yaml.safe_load((ROOT / "envoy" / "demo" / "extproc.yaml").read_text())["issuers"][0]["issuer"]
    )
    assert issuer.hostname == "localhost"
    assert f"127.0.0.1:{issuer.port}:{issuer.port}" in compose["idp"]["ports"]
    assert (
        f"127.0.0.1:{urlsplit(FIXED.resource).port}:{urlsplit(FIXED.resource).port}"
        in compose["idp"]["ports"]
    )
    assert all(port.split(":")[1] == port.split(":")[2] for port in compose["idp"]["ports"])
    assert {name for name, service in compose.items() if service.get("network_mode") == "service:idp"} == (
        compose.keys() - {"idp"}
    )
    # A service in another's namespace has no ports or networks of its own; compose refuses such a file.
    assert not any(
        service.keys() & {"ports", "networks"} for name, service in compose.items() if name != "idp"
    )


def test_every_compose_service_has_a_health_check_and_ours_run_without_privileges(compose):
    assert all("healthcheck" in service for service in compose.values())
    ours = [service for name, service in compose.items() if name != "envoy"]
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in ours)
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "USER 10001" in dockerfile


def test_compose_uses_the_official_envoy_image_of_the_tested_version(compose):
    assert compose["envoy"]["image"] == "${ENVOY_IMAGE:-envoyproxy/envoy:v1.40.0}"
