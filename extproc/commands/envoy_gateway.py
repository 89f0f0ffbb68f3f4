"""``extproc envoy-gateway``: prints Kubernetes resources for Envoy Gateway."""

from extproc.config import Settings
from extproc.envoy_gateway.options import GatewayOptions
from extproc.envoy_gateway.render import render


def rendered(settings: Settings, options: GatewayOptions) -> str:
    """Return the resources as YAML."""
    return render(settings, options)
