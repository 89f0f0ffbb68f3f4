"""CustomResourceDefinitions: ToolHive's as far as tests need them, Envoy Gateway's from its Go module."""

import json
import subprocess
from pathlib import Path

CONDITIONS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": {
        "type": "object",
        "required": ["type", "status", "reason", "message", "lastTransitionTime"],
        "properties": {
            **{name: {"type": "string"} for name in ("type", "status", "reason")},
            "message": {"type": "string", "maxLength": 32768},
            "lastTransitionTime": {"type": "string", "format": "date-time"},
            "observedGeneration": {"type": "integer"},
        },
    },
}
KINDS = {
    "MCPRemoteProxy": "mcpremoteproxies",
    "MCPServer": "mcpservers",
    "MCPExternalAuthConfig": "mcpexternalauthconfigs",
    "MCPOIDCConfig": "mcpoidcconfigs",
}


def toolhive(*versions):
    """Return ToolHive's kinds, served in these versions; the first is stored."""
    group = "toolhive.stacklok.dev"
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "status": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"conditions": CONDITIONS},
            },
        },
    }
    return [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {
                    "kind": kind,
                    "plural": plural,
                    "singular": kind.lower(),
                    "listKind": f"{kind}List",
                },
                "versions": [
                    {
                        "name": version,
                        "served": True,
                        "storage": version == versions[0],
                        "schema": {"openAPIV3Schema": schema},
                        "subresources": {"status": {}},
                    }
                    for version in versions
                ],
            },
        }
        for kind, plural in KINDS.items()
    ]


def module(name):
    """Return the folder of a Go module, fetched if needed."""
    found = subprocess.run(
        ["go", "mod", "download", "-json", name], check=True, capture_output=True, text=True, cwd="/"
    )
    return Path(json.loads(found.stdout)["Dir"])


def gateway_files():
    """Return the files with the kinds of the Gateway API and of Envoy Gateway, as its Helm chart has them."""
    folder = (
        module("github.com/envoyproxy/gateway@v1.9.0")
        / "charts"
        / "gateway-helm"
        / "charts"
        / "crds"
        / "crds"
    )
    return sorted(folder.rglob("*.yaml"))


def operator_files():
    """Return the files with the kinds of cert-manager and the Prometheus operator that the chart renders."""
    prometheus = module("github.com/prometheus-operator/prometheus-operator@v0.85.0") / "example"
    return [
        module("github.com/cert-manager/cert-manager@v1.21.2")
        / "deploy"
        / "crds"
        / "cert-manager.io_certificates.yaml",
        *(
            prometheus / "prometheus-operator-crd" / f"monitoring.coreos.com_{kind}.yaml"
            for kind in ("prometheusrules", "servicemonitors")
        ),
    ]
