"""A route never stands without the policy that has extproc's filter."""

import asyncio

import pytest

from extproc.controller.kinds import (
    EXTENSION_POLICY,
    PROXY,
    ROUTE,
)
from support.kube_bundles import (
    accepted,
    conditions,
    proxy,
    running,
    says,
    there,
    until,
)


async def test_a_route_is_written_once_envoy_gateway_has_accepted_its_policy(api):
    api.put(PROXY, proxy(gateway="mcp"))
    async with running(api):
        await until(lambda: conditions(api).get("Programmed") == ("False", "Pending"))
        says(api, generation=0)  # of another generation
        await asyncio.sleep(0.05)
        assert not there(api, ROUTE, "extproc")
        says(api)
        await until(lambda: there(api, ROUTE, "extproc"))


@pytest.mark.parametrize(("kind", "status"), [("Accepted", "False"), ("Overridden", "True")])
async def test_a_policy_that_is_refused_or_replaced_takes_the_route_with_it(api, kind, status):
    api.put(PROXY, proxy(gateway="mcp"))
    async with running(api):
        await accepted(api)
        says(api, kind, status, "another policy has this Gateway")
        await until(lambda: not there(api, ROUTE, "extproc"))
        await until(lambda: conditions(api).get("Programmed") == ("False", "Refused"))
        (found,) = [
            each for each in there(api, PROXY, "aws")["status"]["conditions"] if each["type"] == "Programmed"
        ]
        assert "another policy has this Gateway" in found["message"]
        assert there(api, EXTENSION_POLICY, "extproc")
        says(api)
        await until(lambda: there(api, ROUTE, "extproc"))


async def test_a_route_goes_before_its_policy_leaves_for_another_gateway(api):
    api.put(PROXY, proxy(gateway="mcp"))
    async with running(api):
        await accepted(api)
        api.calls.clear()
        api.put(PROXY, proxy(gateway="other"))
        await until(lambda: targets(api) == ["other"])
        assert not there(api, ROUTE, "extproc")
    changes = [(verb, kind) for verb, kind, _ in api.calls]
    assert changes.index(("delete", "HTTPRoute")) < changes.index(("apply", "EnvoyExtensionPolicy"))


def another(*targets, **spec):
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": {"name": "another", "namespace": "mcp"},
        "spec": {"targetRefs": list(targets), **spec},
    }


@pytest.mark.parametrize(
    "policy",
    [
        another({"kind": "Gateway", "name": "mcp"}),
        another({"kind": "HTTPRoute", "name": "extproc"}),
        another(targetSelectors=[{"kind": "Gateway"}]),
        another(targetRef={"kind": "Gateway", "name": "mcp", "sectionName": "http"}),
        another({"kind": "HTTPRoute", "name": "extproc"}, mergeType="JSONMerge", extProc=[]),
    ],
    ids=lambda policy: str(policy["spec"]),
)
async def test_another_policy_that_may_replace_extprocs_takes_the_route_until_it_goes(api, policy):
    api.put(PROXY, proxy(gateway="mcp"))
    async with running(api):
        await accepted(api)
        api.put(EXTENSION_POLICY, policy)
        await until(lambda: not there(api, ROUTE, "extproc"))
        await until(lambda: conditions(api).get("Programmed") == ("False", "Refused"))
        says(api)
        await asyncio.sleep(0.05)
        assert not there(api, ROUTE, "extproc")
        api.remove(EXTENSION_POLICY, "mcp", "another")
        await until(lambda: there(api, ROUTE, "extproc"))


@pytest.mark.parametrize(
    "policy",
    [
        another({"kind": "Gateway", "name": "other"}),
        another({"kind": "HTTPRoute", "name": "extproc"}, mergeType="JSONMerge"),
    ],
    ids=lambda policy: str(policy["spec"]),
)
async def test_policies_elsewhere_and_merged_ones_do_not(api, policy):
    api.put(EXTENSION_POLICY, policy)
    api.put(PROXY, proxy(gateway="mcp"))
    async with running(api):
        await accepted(api)
    assert there(api, EXTENSION_POLICY, "another")


def targets(api):
    return [each["name"] for each in there(api, EXTENSION_POLICY, "extproc")["spec"]["targetRefs"]]
