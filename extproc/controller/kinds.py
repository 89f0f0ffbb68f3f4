"""The kinds of objects that are watched and written, and the names that mark them."""

from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]

ENABLED: Final = "extproc/enabled"
"""The annotation with which an ``MCPRemoteProxy`` or ``MCPServer`` opts in, with the value ``true``."""
GATEWAY: Final = "extproc/gateway"
"""The annotation that names the Gateway; without it only the configuration is written."""
CONFIG: Final = "extproc/config"
"""The label of a ConfigMap with a configuration in extproc's format, with the value ``true``."""
CONFIG_KEY: Final = "extproc.yaml"
CONDITIONS: Final = "extproc/conditions"
"""The annotation with the conditions of a ConfigMap, which has no status."""
SOURCE: Final = "extproc/source"
"""The annotation of a written object: the kind and the name of what it was written for."""
RENDERED_FROM: Final = "extproc/rendered-from"
"""The annotation of a written configuration: the ``MCPExternalAuthConfig`` that is in it."""
MANAGER: Final = "extproc-controller"
MANAGED: Final = {"app.kubernetes.io/managed-by": MANAGER}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects in the API.

    Attributes:
        versions: in the order in which they are tried.
        labels: the objects that are watched have them.
    """

    name: str
    plural: str
    group: str
    versions: tuple[str, ...]
    labels: tuple[tuple[str, str], ...] = ()


_TOOLHIVE, _MANAGED = "toolhive.stacklok.dev", tuple(MANAGED.items())
_TOOLHIVE_VERSIONS = ("v1beta1", "v1alpha1")

PROXY = Kind("MCPRemoteProxy", "mcpremoteproxies", _TOOLHIVE, _TOOLHIVE_VERSIONS)
SERVER = Kind("MCPServer", "mcpservers", _TOOLHIVE, _TOOLHIVE_VERSIONS)
AUTH_CONFIG = Kind("MCPExternalAuthConfig", "mcpexternalauthconfigs", _TOOLHIVE, _TOOLHIVE_VERSIONS)
OIDC_CONFIG = Kind("MCPOIDCConfig", "mcpoidcconfigs", _TOOLHIVE, _TOOLHIVE_VERSIONS)
SOURCE_MAP = Kind("ConfigMap", "configmaps", "", ("v1",), ((CONFIG, "true"),))

WRITTEN_MAP = Kind("ConfigMap", "configmaps", "", ("v1",), _MANAGED)
# Of all managers: another one may replace extproc's.
EXTENSION_POLICY = Kind(
    "EnvoyExtensionPolicy", "envoyextensionpolicies", "gateway.envoyproxy.io", ("v1alpha1",)
)
CLIENT_POLICY = Kind(
    "ClientTrafficPolicy", "clienttrafficpolicies", "gateway.envoyproxy.io", ("v1alpha1",), _MANAGED
)
TRAFFIC_POLICY = Kind(
    "BackendTrafficPolicy", "backendtrafficpolicies", "gateway.envoyproxy.io", ("v1alpha1",), _MANAGED
)
BACKEND = Kind("Backend", "backends", "gateway.envoyproxy.io", ("v1alpha1",), _MANAGED)
BACKEND_TLS = Kind("BackendTLSPolicy", "backendtlspolicies", "gateway.networking.k8s.io", ("v1",), _MANAGED)
ROUTE = Kind("HTTPRoute", "httproutes", "gateway.networking.k8s.io", ("v1",), _MANAGED)

SOURCES: Final = (PROXY, SERVER, SOURCE_MAP)
REFERRED: Final = (AUTH_CONFIG, OIDC_CONFIG)
# In the order in which it is safe to delete them: without its route nothing reaches a backend.
WRITTEN: Final = (
    ROUTE, EXTENSION_POLICY, CLIENT_POLICY, TRAFFIC_POLICY, BACKEND_TLS, BACKEND, WRITTEN_MAP,
)  # fmt: skip
LEASE = Kind("Lease", "leases", "coordination.k8s.io", ("v1",))
EVENT = Kind("Event", "events", "events.k8s.io", ("v1",))


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Identifies a source."""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def metadata(item: Object) -> Object:
    """Return an object's metadata."""
    found = item.get("metadata")
    return found if isinstance(found, dict) else {}


def name_of(item: Object) -> str:
    """Return an object's name."""
    return str(metadata(item).get("name", ""))


def annotations(item: Object) -> dict[str, str]:
    """Return an object's annotations."""
    return metadata(item).get("annotations") or {}


def version_of(item: Object) -> str:
    """Return what changes with an object's content: its generation, or its version where it has none."""
    found = metadata(item)
    return str(found.get("generation") or found.get("resourceVersion") or "")
