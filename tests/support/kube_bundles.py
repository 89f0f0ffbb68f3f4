"""Objects of users in memory, and a controller that works on them."""

import asyncio
import contextlib

from extproc import config
from extproc.controller.kinds import (
    AUTH_CONFIG,
    EXTENSION_POLICY,
    OIDC_CONFIG,
    PROXY,
    WRITTEN_MAP,
)
from extproc.controller.lease import Lease
from extproc.controller.manager import Manager

GOOD = '"admins" in claims.groups'
BASE = {"listen": {"grpc": "0.0.0.0:50051", "insecure_plaintext": True}}


def toolhive(kind, name, spec, annotations=None):
    metadata = {
        "name": name,
        "namespace": "mcp",
        "annotations": annotations or {},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {
        "apiVersion": "toolhive.stacklok.dev/v1beta1",
        "kind": kind.name,
        "metadata": metadata,
        "spec": spec,
    }


def auth_config(*matchers, name="aws", region="us-east-1"):
    mappings = [{"matcher": each, "roleArn": "arn:aws:iam::123456789012:role/R"} for each in matchers]
    return toolhive(
        AUTH_CONFIG, name, {"type": "awsSts", "awsSts": {"region": region, "roleMappings": mappings}}
    )


def proxy(name="aws", *, auth="aws", gateway=None, kind=PROXY):
    annotations = {"extproc/enabled": "true"} | ({"extproc/gateway": gateway} if gateway else {})
    spec = {
        "externalAuthConfigRef": {"name": auth},
        "oidcConfigRef": {"name": "idp", "audience": "https://mcp.example.com/mcp"},
    }
    if kind is PROXY:
        spec["remoteUrl"] = "https://aws-mcp.us-east-1.api.aws/mcp"
    return toolhive(kind, name, spec, annotations)


OIDC = toolhive(OIDC_CONFIG, "idp", {"type": "inline", "inline": {"issuer": "https://idp.example.com/"}})


async def until(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("not reached")


@contextlib.asynccontextmanager
async def running(api, name="one", **base):
    lease = Lease(api, "mcp", "extproc-controller", name)
    manager = Manager(api, ["mcp"], lease, base={**BASE, **base}, service="extproc", identity=name)
    stopped = asyncio.Event()
    task = asyncio.create_task(manager.run(stopped))
    try:
        yield manager
    finally:
        stopped.set()
        await task


def there(api, kind, name):
    return api.objects.get((kind.plural, "mcp", name))


def conditions(api, kind=PROXY, name="aws"):
    found = (there(api, kind, name) or {}).get("status", {}).get("conditions", [])
    return {each["type"]: (each["status"], each["reason"]) for each in found}


def says(api, kind="Accepted", status="True", message="", generation=None):
    """Let Envoy Gateway say something about the policy."""
    policy = there(api, EXTENSION_POLICY, "extproc")
    seen = policy["metadata"]["generation"] if generation is None else generation
    condition = {"type": kind, "status": status, "message": message, "observedGeneration": seen}
    api.put(EXTENSION_POLICY, {**policy, "status": {"ancestors": [{"conditions": [condition]}]}})


async def accepted(api):
    """Let Envoy Gateway accept the policy, and wait for what follows."""
    await until(lambda: conditions(api).get("Programmed") == ("False", "Pending"))
    says(api)
    await until(lambda: conditions(api).get("Programmed") == ("True", "Programmed"))


def matchers(api, name="aws-extproc"):
    found = there(api, WRITTEN_MAP, name)
    return found and [rule.matcher for rule in config.parse(found["data"]["extproc.yaml"]).role_mappings]


def config_map(name, data, **metadata):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "mcp", **metadata}, "data": data}  # fmt: skip
