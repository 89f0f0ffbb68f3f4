"""The admission policy that `extproc envoy-gateway` prints, in a real API server."""

import copy
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main
from support.kube_cluster import eventually

SETTINGS = Path(__file__).parents[2] / "envoy" / "aws-mcp" / "extproc.yaml"
NAMESPACE = "guarded"


def printed():
    names = ["--gateway", "edge", "--service", "signer", "--namespace", NAMESPACE]
    result = CliRunner().invoke(main, ["envoy-gateway", "--config", str(SETTINGS), *names])
    assert result.exit_code == 0, result.output
    return list(yaml.safe_load_all(result.stdout))


@pytest.fixture(scope="module")
def policy(cluster):
    """Apply everything that is printed, in its order; the value is extproc's policy."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    objects = printed()
    cluster.apply(*objects)
    (policy,) = [each for each in objects if each["kind"] == "EnvoyExtensionPolicy"]
    changed = edited(policy, lambda processor: processor.update(failOpen=True))
    eventually(lambda: cluster.apply(changed, "--dry-run=server", check=False).returncode != 0)
    yield policy
    cluster.kubectl("delete", "validatingadmissionpolicybindings", f"extproc-{NAMESPACE}-edge")
    cluster.kubectl("delete", "validatingadmissionpolicies", f"extproc-{NAMESPACE}-edge")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def edited(policy, change):
    policy = copy.deepcopy(policy)
    change(policy["spec"]["extProc"][0])
    return policy


def refusal(cluster, item):
    found = cluster.apply(item, "--dry-run=server", check=False)
    assert found.returncode != 0
    return found.stderr


def test_what_is_printed_is_accepted_once_more(cluster, policy):
    cluster.apply(policy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda each: each.update(failOpen=True), "failOpen"),
        (lambda each: each.pop("messageTimeout"), "messageTimeout is missing"),
        (lambda each: each["processingMode"].pop("allowModeOverride"), "leave unsigned"),
        (lambda each: each["processingMode"]["request"].pop("body"), "leave unsigned"),
        (lambda each: each["processingMode"]["request"].update(body="BufferedPartial"), "leave unsigned"),
        (lambda each: each["backendRefs"][0].update(name="another"), "must call signer"),
    ],
)
def test_an_edit_that_would_let_tokens_or_unsigned_requests_through_is_refused(
    cluster, policy, change, message
):
    assert message in refusal(cluster, edited(policy, change))


@pytest.mark.parametrize("change", [{"name": "another"}, {"sectionName": "https"}, {"kind": "HTTPRoute"}])
def test_another_target_is_refused(cluster, policy, change):
    item = copy.deepcopy(policy)
    item["spec"]["targetRefs"][0].update(change)
    assert "must call signer" in refusal(cluster, item)


def other(**spec):
    lua = [{"type": "Inline", "inline": "function envoy_on_response(handle) end"}]
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": {"name": "another", "namespace": NAMESPACE},
        "spec": {"lua": lua, **spec},
    }


def target(**change):
    return {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge", **change}


@pytest.mark.parametrize(
    "spec",
    [
        {"targetRefs": [target()]},
        {"targetRef": target()},
        {"targetRefs": [target(sectionName="https")]},
        {"targetRefs": [target(name="other"), target()]},
        {"targetRefs": [target(kind="HTTPRoute", name="extproc")]},
        {"targetRefs": [target(kind="ListenerSet", name="more")]},
        {"targetSelectors": [{"kind": "Gateway", "matchLabels": {"a": "b"}}]},
        {"targetSelectors": [{"kind": "HTTPRoute", "matchLabels": {"a": "b"}}]},
    ],
    ids=str,
)
def test_a_policy_that_could_replace_extprocs_is_refused(cluster, policy, spec):
    assert "replaces extproc's" in refusal(cluster, other(**spec))


@pytest.mark.parametrize(
    "spec",
    [
        {"targetRefs": [target(name="other")]},
        {"targetRefs": [target(kind="HTTPRoute", name="extproc")], "mergeType": "StrategicMerge"},
    ],
    ids=str,
)
def test_policies_of_other_gateways_and_merged_ones_are_none_of_its_business(cluster, policy, spec):
    cluster.apply(other(**spec), "--dry-run=server")


def test_deletion_needs_the_annotation(cluster, policy):
    delete = ("delete", "envoyextensionpolicies", "extproc", "-n", NAMESPACE)
    assert "bearer tokens reach AWS" in cluster.kubectl(*delete, check=False).stderr
    cluster.kubectl("annotate", "envoyextensionpolicies", "extproc", "-n", NAMESPACE, "extproc/removable=yes")
    cluster.kubectl(*delete)
    cluster.apply(policy)


def test_other_namespaces_are_left_alone(cluster, policy):
    item = edited(policy, lambda processor: processor.update(failOpen=True))
    item["metadata"]["namespace"] = "default"
    cluster.apply(item, "--dry-run=server")
