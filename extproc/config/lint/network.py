"""Warnings about ``listen``, ``resource`` and ``allowed_origins``: who can connect, and over what."""

import re
from collections.abc import Iterator

from extproc.authn.audience import Audiences
from extproc.config.fields import repetitions
from extproc.config.listen import stays_local
from extproc.config.settings import Settings
from extproc.loopback import is_loopback_url
from extproc.spelling import did_you_mean

_EVERY_ADDRESS = re.compile(r"(?:0\.0\.0\.0|\[::\]):[0-9]+")


def listen_warnings(settings: Settings) -> Iterator[str]:
    """Yield listeners that more people can reach than they should."""
    listen = settings.listen
    if listen.admin and _EVERY_ADDRESS.fullmatch(listen.admin) and not listen.insecure_plaintext:
        yield f"listen.admin: {listen.admin} is reachable from every network, in clear text"
    sockets = [address for address in (*listen.grpc_addresses, listen.admin_grpc) if _is_socket(address)]
    if sockets and int(listen.socket_mode, 8) & 0o002:
        yield f"listen.socket_mode: {listen.socket_mode} lets every user of this machine connect"
    if listen.admin_grpc and not _is_socket(listen.admin_grpc) and stays_local(listen.admin_grpc):
        yield "listen.admin_grpc: every user of this machine can end sessions; a unix: socket is safer"
    if listen.socket_owner and not sockets:
        yield "listen.socket_owner: there is no unix: socket"
    if any(issuer.verified_by == "envoy" for issuer in settings.issuers):
        for address in listen.grpc_addresses:
            if not stays_local(address) and (listen.tls is None or listen.tls.client_ca is None):
                yield (
                    f"listen.grpc: a client of {address} can act as any user, since an issuer has "
                    "verified_by: envoy; set tls.client_ca"
                )


def resource_warnings(settings: Settings) -> Iterator[str]:
    """Yield URLs in clear text, and those that are no audience of an issuer."""
    urls = {"resource.url": settings.resource.url}
    urls |= {f"resource.aliases[{i}]": alias for i, alias in enumerate(settings.resource.aliases)}
    for name, url in urls.items():
        if url.startswith("http:") and not is_loopback_url(url):
            yield f"{name}: http:// sends tokens over the network in clear text"
        for position, issuer in enumerate(settings.issuers):
            if url not in Audiences(issuer.audiences, ignore_slash=issuer.ignore_audience_slash):
                hint = did_you_mean(url, issuer.audiences)
                path = f"issuers[{position}].audiences"
                yield f"{path}: {name} is not among them, which MCP clients ask for{hint}"
    for position, origin in enumerate(settings.allowed_origins):
        if origin.startswith("http:") and not is_loopback_url(origin):
            yield f"allowed_origins[{position}]: a page that comes over http:// can be changed on the way"
    yield from repetitions("allowed_origins", settings.allowed_origins)


def _is_socket(address: str | None) -> bool:
    return address is not None and address.startswith("unix:")
