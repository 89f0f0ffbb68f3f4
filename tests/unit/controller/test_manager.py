"""The controller as a whole, against objects in memory; tests/kubernetes has the real API server."""

import asyncio

import pytest
import yaml

from extproc import config
from extproc.controller.informer import Informer
from extproc.controller.kinds import (
    AUTH_CONFIG,
    EXTENSION_POLICY,
    LEASE,
    PROXY,
    ROUTE,
    SERVER,
    SOURCE_MAP,
    WRITTEN_MAP,
    Key,
)
from extproc.controller.lease import Lease
from extproc.controller.work_queue import WorkQueue
from support.kube_api import FakeApi
from support.kube_bundles import (
    GOOD,
    accepted,
    auth_config,
    conditions,
    matchers,
    proxy,
    running,
    says,
    there,
    until,
)


async def test_a_bundle_becomes_a_configuration_that_is_pruned_with_it_the_route_first(api):
    api.put(PROXY, proxy(gateway="mcp"))
    async with running(api):
        await accepted(api)
        assert matchers(api) == [GOOD]
        assert there(api, ROUTE, "extproc")
        api.remove(PROXY, "mcp", "aws")
        await until(lambda: not there(api, WRITTEN_MAP, "aws-extproc"))
    deleted = [kind for verb, kind, _ in api.calls if verb == "delete"]
    assert deleted == [
        "HTTPRoute", "EnvoyExtensionPolicy", "ClientTrafficPolicy", "BackendTrafficPolicy", "BackendTLSPolicy", "Backend", "ConfigMap",
    ]  # fmt: skip


async def test_a_bad_object_keeps_the_good_ones_place_and_a_restart_changes_nothing_of_that(api):
    api.put(PROXY, proxy())
    async with running(api):
        await until(lambda: matchers(api) == [GOOD])
        api.put(AUTH_CONFIG, auth_config(f"{GOOD} &&"))
        await until(lambda: conditions(api).get("Accepted") == ("False", "Invalid"))
        assert conditions(api)["Programmed"] == ("False", "LastGoodKept")
    async with running(api, "two"):
        await until(lambda: not any(verb == "delete" for verb, _, _ in api.calls))
        await asyncio.sleep(0.05)
    assert matchers(api) == [GOOD]


async def test_a_deleted_auth_config_takes_the_access_and_a_misspelt_reference_does_not(api):
    api.put(PROXY, proxy())
    async with running(api):
        await until(lambda: matchers(api) == [GOOD])
        api.put(PROXY, proxy(auth="asw"))
        await until(lambda: conditions(api).get("ResolvedRefs") == ("False", "RefNotFound"))
        assert matchers(api) == [GOOD]
        api.remove(AUTH_CONFIG, "mcp", "aws")
        api.put(PROXY, proxy(auth="asw"))
        await until(lambda: not there(api, WRITTEN_MAP, "aws-extproc"))


async def test_what_was_deleted_while_no_controller_ran_is_pruned_by_the_next(api):
    api.put(PROXY, proxy())
    async with running(api):
        await until(lambda: matchers(api) == [GOOD])
    api.remove(PROXY, "mcp", "aws")
    async with running(api, "two"):
        await until(lambda: not there(api, WRITTEN_MAP, "aws-extproc"))


async def test_objects_that_cannot_be_read_are_not_deleted_ones(api):
    api.put(PROXY, proxy())
    async with running(api):
        await until(lambda: matchers(api) == [GOOD])
    api.failing = 403
    async with running(api, "two") as manager:
        await asyncio.sleep(0.1)
        assert manager.unsynced()
        api.failing = None
        await until(lambda: not manager.unsynced())
    assert matchers(api) == [GOOD]
    assert not any(verb == "delete" for verb, _, _ in api.calls)


async def test_nothing_is_written_twice(api):
    api.put(PROXY, proxy(gateway="mcp"))
    async with running(api):
        await accepted(api)
        await asyncio.sleep(0.1)
        calls = len(api.calls)
        api.end_watches(410)
        await asyncio.sleep(0.5)
        assert len(api.calls) == calls


async def test_an_mcpserver_and_a_configmap_are_sources_too(api):
    api.put(SERVER, proxy("server", kind=SERVER))
    text = yaml.safe_dump({
        "resource": {"url": "https://mcp.example.com/mcp"},
        "issuers": [{"issuer": "https://idp.example.com/", "audiences": ["https://mcp.example.com/mcp"]}],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "role_mappings": [{"matcher": GOOD, "role_arn": "arn:aws:iam::123456789012:role/A"}],
    })  # fmt: skip
    metadata = {"name": "own", "namespace": "mcp", "labels": {"extproc/config": "true"}}
    api.put(
        SOURCE_MAP,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"extproc.yaml": text}},
    )
    async with running(api):
        await until(lambda: matchers(api, "server-extproc") == [GOOD])
        await until(lambda: matchers(api, "own-extproc") == [GOOD])


async def test_a_source_may_not_set_what_is_the_operators(api):
    metadata = {"name": "own", "namespace": "mcp", "labels": {"extproc/config": "true"}}
    text = "listen: {grpc: '0.0.0.0:1'}"
    api.put(
        SOURCE_MAP,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"extproc.yaml": text}},
    )
    async with running(api):
        await until(
            lambda: (
                "extproc/conditions" in (there(api, SOURCE_MAP, "own")["metadata"].get("annotations") or {})
            )
        )
    assert (
        "is set by the controller"
        in there(api, SOURCE_MAP, "own")["metadata"]["annotations"]["extproc/conditions"]
    )
    assert not there(api, WRITTEN_MAP, "own-extproc")


async def test_of_two_replicas_one_writes(api):
    async with running(api, "one") as first:
        await until(lambda: first.is_leader)
        async with running(api, "two") as second:
            await asyncio.sleep(0.1)
            assert not second.is_leader
    assert there(api, LEASE, "extproc-controller")["spec"]["holderIdentity"] == ""


async def test_a_lease_that_is_not_renewed_is_taken_and_not_before(api, monkeypatch):
    monkeypatch.setattr("extproc.controller.lease.DURATION", 0.1)
    assert await Lease(api, "mcp", "lease", "one")._try()
    second = Lease(api, "mcp", "lease", "two")
    assert not await second._try()
    await asyncio.sleep(0.15)
    assert await second._try()


async def test_a_kind_that_is_not_installed_is_no_reason_to_wait_for_ever(monkeypatch):
    monkeypatch.setattr("extproc.controller.backoff.random.uniform", lambda *_: 0.0)
    api = FakeApi()
    api.failing = 404
    informer = Informer(api, PROXY, "mcp", lambda *_: None)
    task = asyncio.create_task(informer.run())
    await asyncio.wait_for(informer.synced.wait(), 5)
    task.cancel()
    assert informer.items == {}


async def test_a_queue_holds_a_key_once_and_brings_failed_ones_back():
    queue, key = WorkQueue(), Key("mcp", "MCPRemoteProxy", "aws")
    queue.add(key)
    queue.add(key)
    assert await queue.next() == key
    assert len(queue) == 0
    queue.failed(key)
    queue.add(key)
    assert await queue.next() == key
    assert len(queue) == 0


@pytest.mark.parametrize(
    ("code", "reason"), [(403, "NotWritten"), (404, "NotWritten"), (422, "NotWritten"), (409, "Conflict")]
)
async def test_users_read_what_the_api_server_refused_and_it_is_tried_again(api, code, reason):
    api.refused = {"HTTPRoute": code}
    api.put(PROXY, proxy(gateway="mcp"))
    async with running(api):
        await until(lambda: there(api, EXTENSION_POLICY, "extproc"))
        says(api)
        await until(lambda: conditions(api).get("Programmed") == ("False", reason))
        assert not there(api, ROUTE, "extproc")
        api.refused = {}
        api.put(AUTH_CONFIG, auth_config(GOOD, GOOD))
        await until(lambda: conditions(api).get("Programmed") == ("True", "Programmed"))


async def test_the_operators_settings_are_the_same_for_each_source(api):
    api.put(AUTH_CONFIG, auth_config(GOOD, name="eu", region="eu-west-1"))
    api.put(PROXY, proxy())
    api.put(PROXY, proxy("eu", auth="eu"))
    async with running(api, sts={"endpoint_url": "https://sts.example.com"}):
        await until(lambda: matchers(api) and matchers(api, "eu-extproc"))
    regions = {
        name: config.parse(there(api, WRITTEN_MAP, f"{name}-extproc")["data"]["extproc.yaml"]).sts.region
        for name in ("aws", "eu")
    }
    assert regions == {"aws": "us-east-1", "eu": "eu-west-1"}
