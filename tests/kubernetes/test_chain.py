"""The chart, ToolHive's objects, Envoy Gateway, Envoy, three servers: from an empty API server to signed requests."""

import signal
import time

import pytest

from support import hostile
from support.http import http2_exchange, raw
from support.kube_chain import ADMINS, DEVELOPERS, Chain
from support.kube_cluster import eventually, running, with_kinds, written

NOTHING = {"received": 0, "verified": 0, "rejected": 0, "bearer_seen": 0}
TRAILERS = [("x-trailer", "1")]


@pytest.fixture(scope="module")
def empty_cluster():
    with running() as cluster:
        with_kinds(cluster)
        yield cluster


@pytest.fixture(scope="module")
def chain(empty_cluster, tmp_path_factory):
    with Chain(empty_cluster, tmp_path_factory.mktemp("chain")) as chain:
        chain.before = everything(empty_cluster)
        chain.install()
        yield chain


@pytest.fixture
def served(chain):
    """The chain with a bundle that lets administrators in, and no records."""
    chain.apply_bundle(ADMINS)
    chain.wait_for(200)
    chain.stack.control("mcp", "reset", {})
    return chain


def everything(cluster):
    """Return the names of all objects of the namespace, and of the admission policies."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").stdout.split()
    kinds = ",".join(each for each in kinds if not each.startswith(("events", "leases")))
    found = cluster.kubectl("get", kinds, "-n", "mcp", "-o", "name").stdout.split()
    of_cluster = "validatingadmissionpolicies,validatingadmissionpolicybindings"
    return {*found, *cluster.kubectl("get", of_cluster, "-o", "name").stdout.split()}


def nothing_wrong(chain):
    found = chain.stats()
    assert found["rejected"] == found["bearer_seen"] == 0, found
    return found


def test_from_nothing_to_a_signed_request_and_back(chain):
    started = time.monotonic()
    chain.apply_bundle(ADMINS)
    chain.wait_for(200, seconds=60)
    print(f"signed {time.monotonic() - started:.1f} s after the bundle was applied")
    assert chain.conditions()["Programmed"]["status"] == "True"
    assert chain.ask("demo-developer") == 403
    nothing_wrong(chain)

    chain.edit(ADMINS, DEVELOPERS)
    print(f"a new mapping after {chain.wait_for(200, 'demo-developer'):.1f} s")

    chain.edit(ADMINS, {**DEVELOPERS, "matcher": '"developers" in claims.groups &&'})
    eventually(lambda: chain.conditions()["Accepted"]["status"] == "False")
    assert chain.conditions()["Accepted"]["message"].startswith("role_mappings[1].matcher: ")
    assert chain.conditions()["Programmed"]["reason"] == "LastGoodKept"
    assert (chain.ask(), chain.ask("demo-developer")) == (200, 200)

    chain.edit(ADMINS)
    eventually(lambda: chain.conditions()["Accepted"]["status"] == "True")
    print(f"a withdrawn mapping after {chain.wait_for(403, 'demo-developer'):.1f} s")

    with chain.load() as counts:
        eventually(lambda: counts.get(200, 0) > 50)
        chain.cluster.kubectl("delete", "mcpexternalauthconfigs", "aws", "-n", "mcp")
        eventually(lambda: counts.get(404, 0) > 50)
        eventually(lambda: not written(chain.cluster))
    print(f"statuses while the access was taken away: {counts}")
    # While Envoy loses the route's cluster or connection it answers 500 or 503, or closes.
    assert set(counts) <= {200, 404, 500, 503, None}
    nothing_wrong(chain)
    assert chain.conditions()["ResolvedRefs"]["status"] == "False"

    with chain.load() as counts:
        eventually(lambda: counts.get(404, 0) > 50)
        chain.apply_bundle(ADMINS)
        eventually(lambda: counts.get(200, 0) > 50, seconds=60)
    print(f"statuses while it came back: {counts}")
    nothing_wrong(chain)

    chain.cluster.kubectl(
        "delete", "mcpremoteproxies,mcpexternalauthconfigs,mcpoidcconfigs", "--all", "-n", "mcp"
    )
    eventually(lambda: not written(chain.cluster))
    assert chain.ask() == 404
    nothing_wrong(chain)


def test_two_of_three_servers_killed_under_load_leave_nothing_unsigned(served):
    """Their requests fail, closed, until the cluster has taken them out of the Service's endpoints."""
    with served.load(8) as counts:
        eventually(lambda: counts.get(200, 0) > 200)
        try:
            for number in (0, 1):
                served.servers[number].send_signal(signal.SIGKILL)
                served.cluster.kubectl("delete", "endpointslices", f"extproc-{number}", "-n", "mcp")
            failed = counts.get(500, 0)
            eventually(lambda: settled(counts), seconds=60)
        finally:
            for number in (0, 1):
                served.servers.pop(number).wait()  # they are started anew
                served.cluster.apply(served.endpoints(number))
    print(f"statuses: {counts}, {failed} of them before the endpoints were gone")
    assert nothing_wrong(served)["verified"] >= counts[200]
    eventually(lambda: 0 in served.servers and 1 in served.servers)
    eventually(lambda: [served.ask() for _ in range(10)] == [200] * 10)


def settled(counts):
    """Return whether only signed requests came within a second, and some did."""
    before = dict(counts)
    time.sleep(1)
    after = dict(counts)
    return after[200] > before[200] and after.get(500) == before.get(500)


@pytest.mark.parametrize(
    "frames", [[TRAILERS], [b"", TRAILERS], [b"{}", TRAILERS]], ids=["bare", "empty", "body"]
)
def test_trailers_over_http2_are_refused_or_signed(served, frames):
    head = [
        (":method", "POST"), (":path", "/echo"), (":scheme", "http"), (":authority", "x"),
        ("authorization", f"Bearer {served.stack.token('demo-admin')}"),
    ]  # fmt: skip
    for _ in range(2):
        assert http2_exchange(served.stack.addresses.envoy, [head, *frames]) in (200, 400)
    found = nothing_wrong(served)
    assert found["received"] == found["verified"] == (0 if frames == [TRAILERS] else 2)


def test_hostile_requests_are_refused_or_signed(served):
    for name, text in hostile.MATRIX.items():
        request = text.replace("{token}", served.stack.token("demo-admin"))
        status = raw(served.stack.addresses.envoy, request.encode("latin-1"))[9:12]
        assert status == b"200" or nothing_wrong(served)["received"] == 0, name
        assert nothing_wrong(served)["received"] == (status == b"200"), name
        served.stack.control("mcp", "reset", {})


def test_the_policy_cannot_be_deleted_and_its_dangerous_edits_are_refused(served):
    refused = served.cluster.kubectl("delete", "envoyextensionpolicies", "extproc", "-n", "mcp", check=False)
    assert "bearer tokens reach AWS" in refused.stderr
    assert served.ask() == 200
    nothing_wrong(served)


def test_a_policy_that_envoy_gateway_refuses_takes_the_route_with_it(served):
    """Without the admission policy: an older policy has the Gateway, and extproc's is refused."""
    cluster = served.cluster
    of_cluster = "validatingadmissionpolicybindings"
    (binding,) = cluster.get(of_cluster)
    cluster.kubectl("delete", of_cluster, "--all")
    cluster.kubectl("delete", "mcpremoteproxies", "aws", "-n", "mcp")
    eventually(lambda: not written(cluster))
    lua = {"type": "Inline", "inline": "function envoy_on_response(handle) end"}
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "mcp"}
    other = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": {"name": "another", "namespace": "mcp"},
        "spec": {"targetRefs": [target], "lua": [lua]},
    }
    try:
        eventually(lambda: cluster.apply(other, check=False).returncode == 0)
        time.sleep(1.1)  # ages are in seconds
        served.apply_bundle(ADMINS)
        eventually(lambda: served.conditions().get("Programmed", {}).get("reason") == "Refused")
        assert cluster.get("httproutes", "extproc") is None
        assert served.ask() == 404
        cluster.kubectl("delete", "envoyextensionpolicies", "another", "-n", "mcp")
        served.wait_for(200)
        # Now it comes later, for a listener.
        other["spec"]["targetRefs"] = [{**target, "sectionName": "http"}]
        cluster.apply(other)
        eventually(lambda: served.conditions()["Programmed"]["reason"] == "Refused")
        eventually(lambda: served.ask() == 404)
        print(f"while the controller did not know yet: {served.stats()}")
    finally:
        cluster.kubectl("delete", "envoyextensionpolicies", "another", "-n", "mcp", "--ignore-not-found")
        kept = {key: binding["metadata"].get(key) for key in ("name", "labels", "annotations")}
        cluster.apply({**binding, "metadata": kept})
    served.wait_for(200)


def test_at_the_end_nothing_is_left(chain):
    chain.cluster.kubectl(
        "delete", "mcpremoteproxies,mcpexternalauthconfigs,mcpoidcconfigs", "--all", "-n", "mcp"
    )
    eventually(lambda: not written(chain.cluster))
    assert chain.controller.stop() == 0
    chain.uninstall()
    chain.cluster.kubectl("delete", "endpointslices", "--all", "-n", "mcp")  # nodes' work
    assert everything(chain.cluster) <= chain.before
