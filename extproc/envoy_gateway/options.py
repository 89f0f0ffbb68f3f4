"""The names in the cluster that extproc's settings do not have."""

import re
from dataclasses import dataclass

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, as Kubernetes wants it


class NameRefusedError(ValueError):
    """A name that Kubernetes would refuse."""


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Names of what exists already.

    Attributes:
        gateway: the Gateway, which serves nothing but extproc's targets.
        service: extproc's Service, in the same namespace.
        namespace: of all resources.
        service_port: of the Service; None for the port of ``listen.grpc``.
        service_ca: a ConfigMap with extproc's CA (``ca.crt``), for ``listen.tls``.
    """

    gateway: str
    service: str
    namespace: str = "default"
    service_port: int | None = None
    service_ca: str = "extproc-ca"

    def __post_init__(self) -> None:
        for option in ("gateway", "service", "namespace", "service_ca"):
            if not _NAME.fullmatch(getattr(self, option)):
                raise NameRefusedError(
                    f"--{option.replace('_', '-')}: lower-case letters, digits and hyphens are expected"
                )
