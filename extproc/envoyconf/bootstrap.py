"""A complete Envoy bootstrap that fits our settings. Deterministic: the same settings, the same bytes."""

from typing import Any

import yaml
from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources

from extproc.config import Settings
from extproc.envoyconf.addresses import envoy_address
from extproc.envoyconf.clusters import extproc_cluster, target_cluster
from extproc.envoyconf.jwt_authn import issuers_of_envoy, jwks_clusters
from extproc.envoyconf.listener import listener

_HEADER = """\
# Envoy configuration for extproc, printed by `extproc envoy`.
# It fails closed: without an answer of extproc no request is forwarded.
"""


def render(
    settings: Settings,
    *,
    listen: str,
    extproc_address: str | None = None,
    admin: str = "127.0.0.1:9901",
    ca_file: str = "/etc/ssl/certs/ca-certificates.crt",
    jwt_authn: bool = False,
) -> str:
    """The bootstrap as YAML.

    ``listen``: where clients connect. ``extproc_address``: where Envoy finds us, if that
    is not ``listen.grpc``. ``ca_file``: the CA bundle on Envoy's machine.
    ``jwt_authn``: let Envoy verify tokens of all issuers whose keys it can find, not only of
    those that are configured so.
    """
    envoys_issuers = issuers_of_envoy(settings, all_issuers=jwt_authn)
    bootstrap = Bootstrap(
        admin=Admin(address=envoy_address(admin)),
        static_resources=BootstrapStaticResources(
            listeners=[listener(settings, address=listen, envoys_issuers=envoys_issuers)],
            clusters=[
                extproc_cluster(extproc_address or settings.listen.grpc),
                *(target_cluster(target, ca_file=ca_file) for target in settings.targets),
                *jwks_clusters(envoys_issuers, ca_file=ca_file),
            ],
        ),
    )
    document = bootstrap.to_dict(casing=Casing.SNAKE)
    _spell_out(document)
    return _HEADER + yaml.safe_dump(document, sort_keys=False, width=110)


def _spell_out(node: Any) -> None:
    """Write the one default down that must never be otherwise; protobuf's JSON leaves defaults out."""
    if isinstance(node, dict):
        if str(node.get("@type", "")).endswith(".ext_proc.v3.ExternalProcessor"):
            node["failure_mode_allow"] = False
        for child in node.values():
            _spell_out(child)
    elif isinstance(node, list):
        for child in node:
            _spell_out(child)
