"""The resources for Envoy Gateway: each of its traps is cured."""

from pathlib import Path

import yaml
from click.testing import CliRunner

from extproc import config
from extproc.cli import main
from extproc.envoy_gateway.options import GatewayOptions
from extproc.envoy_gateway.render import resources
from support.tables import each_case

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).with_name("resources.yaml")
NAMES = ["--gateway", "mcp", "--service", "extproc", "--namespace", "mcp"]


def settings(name="aws-mcp"):
    return ROOT / "envoy" / name / "extproc.yaml"


def printed(*options, name="aws-mcp"):
    result = CliRunner().invoke(main, ["envoy-gateway", "--config", str(settings(name)), *NAMES, *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def of_kind(kind, name="aws-mcp", **options):
    given = GatewayOptions(**{"gateway": "mcp", "service": "extproc", **options})
    found = [each for each in resources(config.load(settings(name)), given) if each["kind"] == kind]
    assert found
    return found


def test_what_is_printed_is_what_is_expected():
    """To accept a change: extproc envoy-gateway ... > tests/unit/envoy_gateway/resources.yaml"""
    assert printed() == GOLDEN.read_text()


def test_the_guard_comes_first_and_all_else_is_in_the_namespace():
    kinds = [(each["kind"], each["metadata"].get("namespace")) for each in yaml.safe_load_all(printed())]
    assert kinds == [
        ("ValidatingAdmissionPolicy", None),
        ("ValidatingAdmissionPolicyBinding", None),
        *(
            (kind, "mcp")
            for kind in (
                "EnvoyExtensionPolicy", "ClientTrafficPolicy", "BackendTrafficPolicy", "Backend", "BackendTLSPolicy", "HTTPRoute",
            )
        ),
    ]  # fmt: skip


def test_the_filter_is_the_gateways_and_fails_closed():
    (policy,) = of_kind("EnvoyExtensionPolicy")
    assert [(ref["kind"], ref["name"]) for ref in policy["spec"]["targetRefs"]] == [("Gateway", "mcp")]
    (processor,) = policy["spec"]["extProc"]
    assert processor["failOpen"] is False
    assert processor["messageTimeout"] == "17s"
    assert processor["processingMode"] == {"request": {"body": "Buffered"}, "allowModeOverride": True}
    assert processor["metadata"] == {"writableNamespaces": ["extproc"]}
    assert processor["backendSettings"]["circuitBreaker"]["maxParallelRequests"] == 16384
    (policy,) = of_kind("BackendTrafficPolicy")
    assert policy["spec"]["circuitBreaker"]["maxParallelRequests"] == 16384


def test_claims_of_envoy_reach_extproc():
    (policy,) = of_kind("EnvoyExtensionPolicy", "jwt-authn")
    (processor,) = policy["spec"]["extProc"]
    assert processor["metadata"]["accessibleNamespaces"] == ["envoy.filters.http.jwt_authn"]


def test_bodies_fit_and_paths_stay():
    (policy,) = of_kind("ClientTrafficPolicy")
    assert int(policy["spec"]["connection"]["bufferLimit"]) == 10 * 2**20
    assert policy["spec"]["path"] == {"escapedSlashesAction": "KeepUnchanged", "disableMergeSlashes": True}


def test_each_target_has_a_rule_an_address_and_tls():
    (route,) = of_kind("HTTPRoute", "several-targets")
    prefixes = [rule["matches"][0]["path"]["value"] for rule in route["spec"]["rules"]]
    assert prefixes == sorted(prefixes, key=len, reverse=True) or prefixes[-1].startswith("/.well-known")
    assert "/.well-known/oauth-protected-resource" in prefixes or "/" in prefixes
    backends = {each["metadata"]["name"]: each["spec"] for each in of_kind("Backend", "several-targets")}
    checked = {
        each["spec"]["targetRefs"][0]["name"]: each["spec"]["validation"]
        for each in of_kind("BackendTLSPolicy", "several-targets")
        if each["spec"]["targetRefs"][0]["kind"] == "Backend"
    }
    for rule in route["spec"]["rules"]:
        (ref,) = rule["backendRefs"]
        modifiers = {each["type"]: each for each in rule["filters"]}
        host = modifiers["URLRewrite"]["urlRewrite"]["hostname"]
        assert backends[ref["name"]]["endpoints"][0]
        if ref["name"] in checked:
            assert checked[ref["name"]]["hostname"] == host
        removed = modifiers["RequestHeaderModifier"]["requestHeaderModifier"]["remove"]
        assert {"x-forwarded-for", "x-envoy-external-address"} <= set(removed)
        assert len(removed) <= 16  # Gateway API's limit
        assert modifiers["ResponseHeaderModifier"]["responseHeaderModifier"] == {
            "remove": ["www-authenticate"]
        }
        assert rule["timeouts"] == {"request": "0s"}


def test_tls_to_extproc_is_that_of_its_settings():
    (policy, *_) = of_kind("BackendTLSPolicy", "mtls", service_ca="its-ca")
    assert policy["spec"]["targetRefs"] == [{"group": "", "kind": "Service", "name": "extproc"}]
    assert policy["spec"]["validation"]["caCertificateRefs"][0]["name"] == "its-ca"
    assert "clientCertificateRef" in printed(name="mtls")


def test_the_guard_refuses_what_the_traps_are():
    (policy,) = of_kind("ValidatingAdmissionPolicy")
    (binding,) = of_kind("ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert binding["spec"]["validationActions"] == ["Deny"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert rule["operations"] == ["CREATE", "UPDATE", "DELETE"]
    written = " ".join(each["expression"] for each in policy["spec"]["validations"])
    for part in ("failOpen", "messageTimeout", "allowModeOverride", "Buffered", "mergeType", "deletes"):
        assert part in written


def test_the_services_port_is_the_servers_or_as_given():
    (policy,) = of_kind("EnvoyExtensionPolicy", service_port=9000)
    assert policy["spec"]["extProc"][0]["backendRefs"] == [
        {"kind": "Service", "name": "extproc", "port": 9000}
    ]
    (policy,) = of_kind("EnvoyExtensionPolicy", "uds-sidecar")
    assert policy["spec"]["extProc"][0]["backendRefs"][0]["port"] == 50051


@each_case("name", ["", "Upper", "a'b", "a" * 64, "x\ny", "-x"])
def test_names_that_kubernetes_refuses_are_refused(name):
    arguments = ["envoy-gateway", "--config", str(settings()), "--gateway", name, "--service", "extproc"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "--gateway: lower-case letters" in result.stderr
