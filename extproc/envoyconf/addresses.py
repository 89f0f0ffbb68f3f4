"""Addresses and endpoints as Envoy's messages."""

from envoy_data_plane.envoy.config.core.v3 import Address, Pipe, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)


def envoy_address(address: str) -> Address:
    """Return the Envoy address for ``HOST:PORT`` or ``unix:/path``."""
    if address.startswith("unix:"):
        return Address(pipe=Pipe(path=address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    return Address(socket_address=SocketAddress(address=host.strip("[]"), port_value=int(port)))


def load_assignment(cluster: str, *addresses: str) -> ClusterLoadAssignment:
    """Return a cluster's endpoints, all with the same priority."""
    endpoints = [LbEndpoint(endpoint=Endpoint(address=envoy_address(address))) for address in addresses]
    return ClusterLoadAssignment(
        cluster_name=cluster, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]
    )
