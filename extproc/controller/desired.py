"""The objects that are written for a source: its configuration, and its Gateway's resources."""

from typing import Any

import yaml

from extproc.config import Settings
from extproc.controller.kinds import (
    BACKEND,
    BACKEND_TLS,
    CLIENT_POLICY,
    CONFIG_KEY,
    EXTENSION_POLICY,
    MANAGED,
    RENDERED_FROM,
    ROUTE,
    SOURCE,
    TRAFFIC_POLICY,
    WRITTEN_MAP,
    Key,
    Kind,
    Object,
)
from extproc.envoy_gateway.options import GatewayOptions
from extproc.envoy_gateway.render import resources

_KINDS = {
    kind.name: kind for kind in (EXTENSION_POLICY, CLIENT_POLICY, TRAFFIC_POLICY, BACKEND, BACKEND_TLS, ROUTE)
}


def config_map_name(key: Key) -> str:
    """Return the name of a source's written configuration."""
    return f"{key.name}-extproc"


def configuration(key: Key, content: dict[str, Any], auth_config: str | None) -> tuple[Kind, Object]:
    """Return the ConfigMap that servers mount."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    item = {
        "apiVersion": "v1",
        "kind": WRITTEN_MAP.name,
        "metadata": {"name": config_map_name(key), "namespace": key.namespace},
        "data": {CONFIG_KEY: text},
    }
    marked(item, key)
    if auth_config:
        item["metadata"]["annotations"][RENDERED_FROM] = auth_config  # type: ignore[index]
    return WRITTEN_MAP, item


def gateway_resources(key: Key, settings: Settings, options: GatewayOptions) -> list[tuple[Kind, Object]]:
    """Return the resources of Envoy Gateway, in the order in which they are safe to apply.

    Not the admission policy: it is of the whole cluster, and the chart's.
    """
    found = [each for each in resources(settings, options) if each["kind"] in _KINDS]
    for each in found:
        marked(each, key)
    return [(_KINDS[each["kind"]], each) for each in found]


def marked(item: Object, key: Key) -> None:
    """Mark an object as written for a source."""
    item["metadata"]["labels"] = dict(MANAGED)
    item["metadata"]["annotations"] = {SOURCE: str(key)}
