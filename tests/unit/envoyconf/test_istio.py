"""The EnvoyFilter for Istio."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from extproc import config
from extproc.cli import main
from extproc.envoyconf.expectations import expectations_of
from extproc.envoyconf.lint import findings
from support.istio import gateway, patched

ROOT = Path(__file__).parents[3]
HOST = "mcp.example.com:443"


def invoke(name, *options):
    settings = str(ROOT / "envoy" / name / "extproc.yaml")
    return CliRunner().invoke(main, ["envoy", "--config", settings, "--for", "istio", *options])


def rendered(name, *options):
    result = invoke(name, *options)
    assert result.exit_code == 0, result.stderr
    return yaml.load(result.stdout, yaml.CSafeLoader)


@pytest.mark.parametrize("name", ["aws-mcp", "several-targets", "jwt-authn"])
def test_a_gateway_with_the_patches_has_no_faults(name):
    resource = rendered(name)
    assert (resource["apiVersion"], resource["kind"]) == ("networking.istio.io/v1alpha3", "EnvoyFilter")
    document = patched(gateway(HOST), resource["spec"]["configPatches"])
    settings = config.load(ROOT / "envoy" / name / "extproc.yaml")
    assert findings(document, expectations_of(settings)) == []
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["normalize_path"] is False
    assert [entry["name"] for entry in manager["http_filters"]][-2:] == [
        "envoy.filters.http.ext_proc",
        "envoy.filters.http.router",
    ]


def test_routes_stay_in_their_order():
    resource = rendered("several-targets")
    document = patched(gateway(HOST), resource["spec"]["configPatches"])
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    names = [route["name"] for route in manager["route_config"]["virtual_hosts"][0]["routes"]]
    own = yaml.load((ROOT / "envoy" / "several-targets" / "envoy.yaml").read_text(), yaml.CSafeLoader)
    manager = own["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert names == [route["name"] for route in manager["route_config"]["virtual_hosts"][0]["routes"]]


def test_several_instances_have_affinity():
    patches = rendered("aws-mcp", "--extproc", "127.0.0.1:1", "--extproc", "127.0.0.1:2")["spec"][
        "configPatches"
    ]
    names = [each["patch"]["value"].get("name") for each in patches if each["applyTo"] == "HTTP_FILTER"]
    assert names[0] == "envoy.filters.http.header_to_metadata"


def test_the_gateway_is_selected_by_its_label():
    spec = rendered("aws-mcp", "--selector", "app=edge")["spec"]
    assert spec["workloadSelector"] == {"labels": {"app": "edge"}}


@pytest.mark.parametrize(
    "options", [["--placement", "upstream"], ["--selector", "edge"], ["--selector", "=x"]]
)
def test_what_istio_cannot_have_is_refused(options):
    assert invoke("aws-mcp", *options).exit_code == 2
