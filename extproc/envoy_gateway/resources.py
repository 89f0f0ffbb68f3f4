"""The Gateway's policies, and a route to each target.

Envoy Gateway has no setting for some of what ``extproc envoy`` renders. Comments say what is done instead.
https://gateway.envoyproxy.io/latest/api/extension_types/
"""

import ipaddress
import math
from typing import Any
from urllib.parse import urlsplit

from extproc.authn.envoy_jwt import METADATA_NAMESPACE
from extproc.config import Settings, TargetSettings
from extproc.envoy_gateway.options import GatewayOptions
from extproc.envoyconf.clusters import MOST_STREAMS
from extproc.envoyconf.ext_proc import longest_answer
from extproc.envoyconf.routes import LONGEST_SSE_SILENCE, METADATA_PATH
from extproc.ext_proc.encoding import DECISION_NAMESPACE

ENVOY_GATEWAY, GATEWAY_API = "gateway.envoyproxy.io", "gateway.networking.k8s.io"
POLICY_NAME = "extproc"
# A Gateway API filter removes sixteen headers at most. Envoy Gateway's router adds no x-envoy-* by default.
_REMOVED = [
    "forwarded", "via", "x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port",
    "x-forwarded-prefix", "x-forwarded-proto", "x-envoy-attempt-count", "x-envoy-external-address",
    "x-envoy-internal", "x-envoy-ip-tags", "x-envoy-original-path", "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id", "te",
]  # fmt: skip

# Instead of 1,024. A request has a stream to extproc while it is decided, and event streams stay open.
_LIMITS = dict.fromkeys(("maxConnections", "maxParallelRequests", "maxPendingRequests"), MOST_STREAMS)

Resource = dict[str, Any]


def resource(kind: str, name: str, spec: Resource, options: GatewayOptions) -> Resource:
    """Return a resource of Envoy Gateway, or of the Gateway API."""
    is_standard = kind in ("HTTPRoute", "BackendTLSPolicy")
    version = f"{GATEWAY_API}/v1" if is_standard else f"{ENVOY_GATEWAY}/v1alpha1"
    metadata = {"name": name, "namespace": options.namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _gateway(options: GatewayOptions) -> list[Resource]:
    return [{"group": GATEWAY_API, "kind": "Gateway", "name": options.gateway}]


def extension_policy(settings: Settings, options: GatewayOptions) -> Resource:
    """Return the policy with extproc's filter, for all routes of the Gateway."""
    metadata: Resource = {"writableNamespaces": [DECISION_NAMESPACE]}
    if any(issuer.verified_by == "envoy" for issuer in settings.issuers):
        metadata["accessibleNamespaces"] = [METADATA_NAMESPACE]
    processor = {
        "backendRefs": [
            {"kind": "Service", "name": options.service, "port": service_port(settings, options)}
        ],
        "failOpen": False,
        "messageTimeout": f"{math.ceil(longest_answer(settings))}s",
        "processingMode": {"request": {"body": "Buffered"}, "allowModeOverride": True},
        "metadata": metadata,
        "backendSettings": {"circuitBreaker": _LIMITS},
    }
    spec = {"targetRefs": _gateway(options), "extProc": [processor]}
    return resource("EnvoyExtensionPolicy", POLICY_NAME, spec, options)


def service_port(settings: Settings, options: GatewayOptions) -> int:
    """Return the port of extproc's Service: as given, or the server's own."""
    _, _, port = settings.listen.grpc_addresses[0].rpartition(":")
    return options.service_port or (int(port) if port.isdecimal() else 50051)


def client_policy(settings: Settings, options: GatewayOptions) -> Resource:
    """Return the policy of the Gateway's listeners: buffers, paths, time limits."""
    spec = {
        "targetRefs": _gateway(options),
        "connection": {"bufferLimit": str(settings.limits.request_body_bytes)},
        "path": {"escapedSlashesAction": "KeepUnchanged", "disableMergeSlashes": True},
        "timeout": {
            "http": {
                "requestReceivedTimeout": "60s",
                "streamIdleTimeout": f"{int(LONGEST_SSE_SILENCE.total_seconds())}s",
            }
        },
    }
    return resource("ClientTrafficPolicy", POLICY_NAME, spec, options)


def traffic_policy(options: GatewayOptions) -> Resource:
    """Return the policy of connections to the targets. extproc itself counts requests where AWS does."""
    spec = {"targetRefs": _gateway(options), "circuitBreaker": _LIMITS}
    return resource("BackendTrafficPolicy", POLICY_NAME, spec, options)


def route(settings: Settings, options: GatewayOptions) -> Resource:
    """Return the route: a rule for each target. Prefixes stay, since extproc removes them."""
    targets = sorted(settings.targets, key=lambda target: len(target.prefix or ""), reverse=True)
    rules = [_rule(target, target.prefix or "/") for target in targets]
    if all(target.prefix for target in targets):
        # extproc answers requests for the resource's metadata; nothing is forwarded.
        rules.append(_rule(targets[0], METADATA_PATH))
    spec: Resource = {"parentRefs": [{"name": options.gateway}], "rules": rules}
    host = urlsplit(settings.resource.url).hostname or ""
    if "." in host and not _is_ip(host):
        spec = {"parentRefs": spec["parentRefs"], "hostnames": [host], "rules": rules}
    return resource("HTTPRoute", POLICY_NAME, spec, options)


def _rule(target: TargetSettings, prefix: str) -> Resource:
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": _REMOVED}},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["www-authenticate"]}},
            {"type": "URLRewrite", "urlRewrite": {"hostname": target.host.partition(":")[0]}},
        ],
        "timeouts": {"request": "0s"},
        "backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": backend_name(target)}],
    }


def backend_name(target: TargetSettings) -> str:
    """Return the name of a target's Backend."""
    return f"aws-{target.name}".lower().replace("_", "-").replace(".", "-")[:63].rstrip("-")


def backend(target: TargetSettings, options: GatewayOptions) -> Resource:
    """Return a target's address."""
    url = urlsplit(target.endpoint_url or f"https://{target.host}")
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    endpoint = (
        {"ip": {"address": host, "port": port}}
        if _is_ip(host)
        else {"fqdn": {"hostname": host, "port": port}}
    )
    return resource("Backend", backend_name(target), {"endpoints": [endpoint]}, options)


def backend_tls(target: TargetSettings, options: GatewayOptions) -> Resource | None:
    """Return TLS to a target with its name verified; None if its endpoint is ``http:``."""
    if urlsplit(target.endpoint_url or "https:").scheme != "https":
        return None
    spec = {
        "targetRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": backend_name(target)}],
        "validation": {"wellKnownCACertificates": "System", "hostname": target.host.partition(":")[0]},
    }
    return resource("BackendTLSPolicy", backend_name(target), spec, options)


def service_tls(settings: Settings, options: GatewayOptions) -> Resource | None:
    """Return TLS to extproc, with the name of its Service verified; None without ``listen.tls``."""
    if settings.listen.tls is None:
        return None
    spec = {
        "targetRefs": [{"group": "", "kind": "Service", "name": options.service}],
        "validation": {
            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": options.service_ca}],
            "hostname": f"{options.service}.{options.namespace}.svc",
        },
    }
    return resource("BackendTLSPolicy", options.service, spec, options)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
