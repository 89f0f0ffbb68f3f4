"""The Helm chart as it is committed: what is rendered is compared by `make chart`, which needs helm."""

import functools
import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from extproc import config
from support.tables import each_case

CHARTS = Path(__file__).parents[2] / "charts"
GOLDEN = sorted((CHARTS / "golden").glob("*.yaml"))
SETS = sorted((CHARTS / "extproc" / "ci").glob("*.yaml"))
SCHEMA = json.loads((CHARTS / "extproc" / "values.schema.json").read_text())


def script(name):
    spec = importlib.util.spec_from_file_location(f"charts_{name}", CHARTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def rendered(path):
    return [each for each in yaml.load_all(path.read_text(), yaml.CSafeLoader) if each]


def objects(path, *kinds):
    return [each for each in rendered(path) if not kinds or each["kind"] in kinds]


def pods(path):
    return [(each, each["spec"]["template"]["spec"]) for each in objects(path, "Deployment")]


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def test_what_the_chart_has_from_elsewhere_is_up_to_date():
    for path, text in script("reference").written().items():
        assert path.read_text() == text, f"{path.name}: run make reference"


def test_there_is_a_golden_file_for_each_set_of_values():
    assert [path.name for path in GOLDEN] == [path.name.replace("-values", "") for path in SETS]


def merged(values, given):
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            merged(values[key], value)
        else:
            values[key] = value
    return values


@each_case("path", SETS, ids=lambda path: path.stem)
def test_the_schema_accepts_the_sets_of_values(path):
    values = yaml.load((CHARTS / "extproc" / "values.yaml").read_text(), yaml.CSafeLoader)
    jsonschema.validate(merged(values, yaml.safe_load(path.read_text())), SCHEMA)


@each_case(
    "values",
    [{"replcas": 3}, {"tls": {"enabled": "yes"}}, {"mode": "daemonset"}, {"image": {"digest": "sha256:1"}},
     {"service": {"port": 70000}}, {"config": {"existingConfigMap": "Not_A_Name"}}, {"replicas": -1}],
)  # fmt: skip
def test_the_schema_refuses_what_would_do_nothing_or_harm(values):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)


@each_case("path", GOLDEN, ids=lambda path: path.stem)
def test_rendered_configurations_are_valid_and_listen_where_probes_and_services_look(path):
    for each in objects(path, "ConfigMap"):
        if "extproc.yaml" in each["data"]:
            settings = config.parse(each["data"]["extproc.yaml"])
            assert settings.listen.admin == "0.0.0.0:9464"
            assert settings.listen.grpc in ("0.0.0.0:50051", "unix:/run/extproc/extproc.sock")
            is_safe = settings.listen.tls or settings.listen.grpc.startswith("unix:")
            assert is_safe or path.stem == "plaintext"
            # Metrics are for the NetworkPolicy's metricsFrom only.
            assert all(each.startswith("listen.admin: ") for each in config.warnings(settings))


@each_case("path", GOLDEN, ids=lambda path: path.stem)
def test_every_container_is_restricted(path):
    for deployment, pod in pods(path):
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["securityContext"]["runAsNonRoot"]
        is_controller = "controller" in deployment["metadata"]["name"]
        assert pod["automountServiceAccountToken"] is is_controller
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert container["resources"]["limits"]["memory"]


@each_case("path", GOLDEN, ids=lambda path: path.stem)
def test_every_mount_has_its_volume_and_every_volume_is_mounted(path):
    for _, pod in pods(path):
        mounts = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}


@each_case("path", GOLDEN, ids=lambda path: path.stem)
def test_services_select_pods_and_the_ports_that_they_have(path):
    deployments = objects(path, "Deployment")
    for service in objects(path, "Service"):
        selector = service["spec"]["selector"].items()
        chosen = [
            each["spec"]["template"]
            for each in deployments
            if selector <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(chosen) == 1
        ports = {port["name"] for each in containers(chosen[0]["spec"]) for port in each["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@each_case("path", GOLDEN, ids=lambda path: path.stem)
def test_no_network_policy_admits_everybody(path):
    for policy in objects(path, "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule.get("from") and rule["ports"] for rule in policy["spec"]["ingress"])


def test_the_drain_fits_into_the_time_that_kubernetes_gives():
    path = CHARTS / "golden" / "secret.yaml"
    settings = config.parse(objects(path, "ConfigMap")[0]["data"]["extproc.yaml"])
    ((_, pod),) = pods(path)
    assert pod["terminationGracePeriodSeconds"] > settings.drain_delay_seconds + settings.drain_seconds + 5


def test_no_password_is_in_what_is_rendered():
    for path in GOLDEN:
        assert not objects(path, "Secret")


def test_the_base_has_no_namespace_and_nothing_of_helm():
    text = (CHARTS / "kustomize" / "extproc.yaml").read_text()
    assert "Helm" not in text
    assert "helm" not in text
    assert not any("namespace" in each["metadata"] for each in objects(CHARTS / "kustomize" / "extproc.yaml"))
    assert yaml.safe_load((CHARTS / "kustomize" / "kustomization.yaml").read_text())["resources"] == [
        "extproc.yaml"
    ]


def test_the_capacity_page_has_the_figures_of_the_last_benchmark():
    page = CHARTS.parent / "docs" / "kubernetes" / "capacity.md"
    assert script("capacity").page() in page.read_text()
