"""`extproc controller` against a real API server, with the rights of the chart's service account."""

import json
import re
import signal
import time

import pytest
import yaml

from extproc import config
from support.kube_cluster import Controller, accept_policy, chart, eventually, written

GOOD, BROKEN = '"admins" in claims.groups', '"admins" in claims.groups &&'


def auth_config(*matchers, name="aws", version="v1beta1"):
    mappings = [
        {"matcher": each, "roleArn": f"arn:aws:iam::123456789012:role/R{at}", "priority": at + 1}
        for at, each in enumerate(matchers)
    ]
    return {
        "apiVersion": f"toolhive.stacklok.dev/{version}",
        "kind": "MCPExternalAuthConfig",
        "metadata": {"name": name, "namespace": "mcp"},
        "spec": {"type": "awsSts", "awsSts": {"region": "us-east-1", "roleMappings": mappings}},
    }


def proxy(name="aws", *, auth="aws", gateway=None, enabled=True):
    annotations = {"extproc/enabled": "true"} if enabled else {}
    if gateway:
        annotations["extproc/gateway"] = gateway
    return {
        "apiVersion": "toolhive.stacklok.dev/v1beta1",
        "kind": "MCPRemoteProxy",
        "metadata": {"name": name, "namespace": "mcp", "annotations": annotations},
        "spec": {
            "remoteUrl": "https://aws-mcp.us-east-1.api.aws/mcp",
            "externalAuthConfigRef": {"name": auth},
            "oidcConfigRef": {"name": "idp", "audience": "https://mcp.example.com/mcp"},
        },
    }


OIDC = {
    "apiVersion": "toolhive.stacklok.dev/v1beta1",
    "kind": "MCPOIDCConfig",
    "metadata": {"name": "idp", "namespace": "mcp"},
    "spec": {"type": "inline", "inline": {"issuer": "https://idp.example.com/"}},
}


def conditions(cluster, name="aws"):
    found = (cluster.get("mcpremoteproxies", name) or {}).get("status", {}).get("conditions", [])
    return {each["type"]: each for each in found}


def is_true(cluster, kind, name="aws"):
    return conditions(cluster, name).get(kind, {}).get("status") == "True"


def matchers(cluster, name="aws-extproc"):
    found = cluster.get("configmaps", name)
    return found and [rule.matcher for rule in config.parse(found["data"]["extproc.yaml"]).role_mappings]


def test_a_bundle_becomes_a_configuration_and_follows_edits_until_nothing_is_left(cluster, controller):
    cluster.apply(auth_config(GOOD), OIDC, proxy(gateway="mcp"))
    eventually(lambda: conditions(cluster).get("Programmed", {}).get("reason") == "Pending")
    assert not cluster.get("httproutes", "extproc")
    accept_policy(cluster)
    eventually(lambda: is_true(cluster, "Programmed"))
    settings = config.parse(cluster.get("configmaps", "aws-extproc")["data"]["extproc.yaml"])
    assert settings.issuers[0].issuer == "https://idp.example.com/"
    assert settings.resource.url == "https://mcp.example.com/mcp"
    assert settings.listen.grpc == "0.0.0.0:50051"
    assert [each.partition("/")[0].partition(".")[0] for each in written(cluster)] == [
        "backend", "backendtlspolicy", "backendtrafficpolicy", "clienttrafficpolicy", "configmap",
        "envoyextensionpolicy", "httproute",
    ]  # fmt: skip
    policy = cluster.get("envoyextensionpolicies", "extproc")["spec"]["extProc"][0]
    assert policy["failOpen"] is False
    assert policy["processingMode"]["allowModeOverride"] is True

    # A new mapping.
    cluster.apply(auth_config(GOOD, '"readers" in claims.groups'))
    eventually(lambda: len(matchers(cluster)) == 2)

    # A bad one never takes the good one's place.
    cluster.apply(auth_config(BROKEN))
    eventually(lambda: conditions(cluster)["Accepted"]["status"] == "False")
    found = conditions(cluster)
    assert found["Accepted"]["message"].startswith("role_mappings[0].matcher: ")
    assert found["Programmed"]["message"] == "the last good configuration stays in use"
    assert len(matchers(cluster)) == 2
    events = cluster.kubectl("get", "events.events.k8s.io", "-n", "mcp", "-o", "json").stdout
    notes = [each["note"] for each in json.loads(events)["items"] if each["regarding"]["name"] == "aws"]
    assert found["Accepted"]["message"] in notes
    cluster.apply(auth_config(GOOD))
    eventually(lambda: is_true(cluster, "Accepted") and len(matchers(cluster)) == 1)

    # Its access is taken away: the admission policy lets the controller do that, since the route goes first.
    cluster.kubectl("delete", "mcpexternalauthconfigs", "aws", "-n", "mcp")
    eventually(lambda: not written(cluster))
    assert conditions(cluster)["ResolvedRefs"]["status"] == "False"


def test_a_misspelt_reference_keeps_what_there_is(cluster, controller):
    cluster.apply(auth_config(GOOD), OIDC, proxy())
    eventually(lambda: is_true(cluster, "Programmed"))
    cluster.apply(proxy(auth="asw"))
    eventually(lambda: conditions(cluster)["ResolvedRefs"]["status"] == "False")
    assert matchers(cluster) == [GOOD]


def test_who_has_not_opted_in_is_left_alone_and_who_opts_out_too(cluster, controller):
    cluster.apply(auth_config(GOOD), OIDC, proxy(enabled=False), proxy("other"))
    eventually(lambda: is_true(cluster, "Programmed", "other"))
    assert not conditions(cluster)
    assert written(cluster) == ["configmap/other-extproc"]
    cluster.kubectl("annotate", "mcpremoteproxies", "other", "-n", "mcp", "extproc/enabled-")
    eventually(lambda: not written(cluster))


def test_conditions_of_toolhives_operator_stay(cluster, controller):
    cluster.apply(auth_config(GOOD), OIDC, proxy(enabled=False))
    theirs = {"type": "Ready", "status": "True", "reason": "Running", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    cluster.kubectl(
        "patch", "mcpremoteproxies", "aws", "-n", "mcp", "--subresource=status", "--type=merge",
        "-p", json.dumps({"status": {"conditions": [theirs], "phase": "Ready"}}),
    )  # fmt: skip
    cluster.apply(proxy())
    eventually(lambda: is_true(cluster, "Programmed"))
    assert conditions(cluster)["Ready"] == theirs
    assert cluster.get("mcpremoteproxies", "aws")["status"]["phase"] == "Ready"


def source_map(text):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "own", "namespace": "mcp", "labels": {"extproc/config": "true"}},
        "data": {"extproc.yaml": text},
    }


def test_a_labelled_configmap_is_a_source_too(cluster, controller):
    document = {
        "resource": {"url": "https://mcp.example.com/mcp"},
        "issuers": [{"issuer": "https://idp.example.com/", "audiences": ["https://mcp.example.com/mcp"]}],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "role_mappings": [{"matcher": GOOD, "role_arn": "arn:aws:iam::123456789012:role/A"}],
    }
    cluster.apply(source_map(yaml.safe_dump(document)))
    eventually(lambda: matchers(cluster, "own-extproc") == [GOOD])
    cluster.apply(source_map(yaml.safe_dump({**document, "rolemappings": []})))

    def accepted():
        found = json.loads(
            cluster.get("configmaps", "own")["metadata"]["annotations"].get("extproc/conditions", "[]")
        )
        return {each["type"]: each for each in found}.get("Accepted", {})

    eventually(lambda: accepted().get("status") == "False")
    assert accepted()["message"].startswith("rolemappings: ")
    assert matchers(cluster, "own-extproc") == [GOOD]


def test_the_oldest_has_the_gateway_and_the_next_gets_it_after_that(cluster, controller):
    cluster.apply(auth_config(GOOD), OIDC, proxy("one", gateway="mcp"))
    accept_policy(cluster)
    eventually(lambda: is_true(cluster, "Programmed", "one"))
    time.sleep(1.1)  # ages are in seconds
    cluster.apply(proxy("two", gateway="mcp"))
    eventually(lambda: conditions(cluster, "two").get("Programmed", {}).get("reason") == "Conflict")
    cluster.kubectl("delete", "mcpremoteproxies", "one", "-n", "mcp")
    eventually(lambda: conditions(cluster, "two")["Programmed"]["reason"] == "Pending")
    accept_policy(cluster)
    eventually(lambda: is_true(cluster, "Programmed", "two"))


def test_what_others_change_or_delete_is_put_back(cluster, controller):
    cluster.apply(auth_config(GOOD), OIDC, proxy(gateway="mcp"))
    accept_policy(cluster)
    eventually(lambda: is_true(cluster, "Programmed"))
    cluster.kubectl("delete", "httproutes", "extproc", "-n", "mcp")
    cluster.kubectl(
        "patch",
        "configmaps",
        "aws-extproc",
        "-n",
        "mcp",
        "--type=merge",
        "-p",
        '{"data": {"extproc.yaml": ""}}',
    )
    eventually(
        lambda: (
            cluster.get("httproutes", "extproc")
            and cluster.get("configmaps", "aws-extproc")["data"]["extproc.yaml"]
        )
    )


def test_a_killed_api_server_is_no_end(cluster, controller, settings):
    def converged():
        if controller.process.poll() is not None:  # its Lease ran out: a Deployment starts it anew
            assert controller.process.returncode == 1
            controller.process = Controller(cluster, settings).process
        return len(matchers(cluster)) == 2

    cluster.apply(auth_config(GOOD), OIDC, proxy())
    eventually(lambda: is_true(cluster, "Programmed"))
    cluster.kill_api_server()
    time.sleep(3)
    cluster.start_api_server()
    cluster.apply(auth_config(GOOD, GOOD))
    eventually(converged, seconds=90)


def test_withdrawn_permissions_delete_nothing_and_work_goes_on_when_they_are_back(cluster, controller):
    cluster.apply(auth_config(GOOD), OIDC, proxy())
    eventually(lambda: is_true(cluster, "Programmed"))
    cluster.kubectl("delete", "rolebindings", "extproc-controller", "-n", "mcp")
    cluster.apply(auth_config(GOOD, GOOD))
    time.sleep(3)
    assert matchers(cluster) == [GOOD]
    cluster.apply(*chart("RoleBinding"))
    eventually(lambda: len(matchers(cluster)) == 2, seconds=90)


def test_another_replica_goes_on_when_the_leader_is_killed(cluster, controller, settings):
    cluster.apply(auth_config(GOOD), OIDC, proxy())
    eventually(lambda: is_true(cluster, "Programmed"))
    other = Controller(cluster, settings, name="other")
    try:
        time.sleep(3)
        controller.process.send_signal(signal.SIGKILL)
        controller.process.wait()
        cluster.apply(auth_config(GOOD, GOOD))
        eventually(lambda: len(matchers(cluster)) == 2, seconds=60)
    finally:
        controller.process = other.process


_EVERYBODYS = ("selfsubject", "clustertrustbundles", "/")


def test_the_service_account_can_do_no_more_than_it_needs(cluster):
    """The whole list, but for what every account may: discovery, public authorities, reviews of itself."""
    found = {}
    listed = cluster.kubectl("auth", "can-i", "--list", "-n", "mcp", user="controller").stdout.splitlines()
    for line in listed[1:]:
        resource, *names, verbs = [part.strip("[] ") for part in re.findall(r"\[[^\]]*\]|\S+", line)]
        if resource and not resource.startswith(_EVERYBODYS):
            found[resource, names[-1]] = set(verbs.split())
    written = {"list", "watch", "create", "patch", "delete"}
    group, standard, toolhive = "gateway.envoyproxy.io", "gateway.networking.k8s.io", "toolhive.stacklok.dev"
    assert found == {
        ("configmaps", ""): written,
        **{
            (f"{kind}.{group}", ""): written
            for kind in (
                "envoyextensionpolicies",
                "clienttrafficpolicies",
                "backendtrafficpolicies",
                "backends",
            )
        },
        **{(f"{kind}.{standard}", ""): written for kind in ("httproutes", "backendtlspolicies")},
        **{
            (f"{kind}.{toolhive}", ""): {"list", "watch"}
            for kind in ("mcpremoteproxies", "mcpservers", "mcpexternalauthconfigs", "mcpoidcconfigs")
        },
        **{(f"{kind}.{toolhive}/status", ""): {"patch"} for kind in ("mcpremoteproxies", "mcpservers")},
        ("events.events.k8s.io", ""): {"create"},
        ("leases.coordination.k8s.io", ""): {"create"},
        ("leases.coordination.k8s.io", "extproc-controller"): {"get", "update"},
    }
    for namespace in ("default", "kube-system"):
        listed = cluster.kubectl("auth", "can-i", "--list", "-n", namespace, user="controller").stdout
        assert all(each.startswith(("Resources", " ", *_EVERYBODYS)) for each in listed.splitlines())


@pytest.mark.long
def test_two_hundred_objects_and_twenty_edits_a_second_converge_with_bounded_requests(cluster, controller):
    cluster.apply(
        OIDC,
        *(
            each
            for at in range(200)
            for each in (auth_config(GOOD, name=f"a{at}"), proxy(f"p{at}", auth=f"a{at}"))
        ),
    )
    eventually(lambda: len(written(cluster)) == 200, seconds=120)
    before = requests(cluster)
    end, edits = time.monotonic() + 60, 0
    while time.monotonic() < end:
        cluster.apply(
            *(auth_config(*[GOOD] * (2 + edits % 3), name=f"a{(edits + at) % 200}") for at in range(20))
        )
        edits += 20
        time.sleep(max(0.0, edits / 20 - (60 - (end - time.monotonic()))))
    wanted = {
        f"a{at}": len(cluster.get("mcpexternalauthconfigs", f"a{at}")["spec"]["awsSts"]["roleMappings"])
        for at in range(0, 200, 10)
    }
    eventually(
        lambda: all(
            len(matchers(cluster, f"p{name[1:]}-extproc")) == count for name, count in wanted.items()
        ),
        seconds=120,
    )
    spent = requests(cluster) - before
    print(f"{edits} edits, {spent} requests of the controller")
    assert spent < 4 * edits
    idle = requests(cluster)
    time.sleep(20)
    assert requests(cluster) - idle < 60  # the Lease, every two seconds


def requests(cluster):
    """Return how many requests that change something the API server has had, the tests' own among them."""
    text = cluster.kubectl("get", "--raw=/metrics").stdout
    lines = [line for line in text.splitlines() if line.startswith("apiserver_request_total{")]
    changing = ("APPLY", "PATCH", "POST", "PUT", "DELETE")
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines if any(f'verb="{verb}"' in line for verb in changing)
    )
