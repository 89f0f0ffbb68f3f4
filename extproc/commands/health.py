"""``extproc health``: checks a listener's gRPC health, with an exit status for orchestrators' probes."""

from pathlib import Path

import click

from extproc.config import Listen
from extproc.grpc_server.certificates import CertificateError
from extproc.grpc_server.channel import ClientTls
from extproc.grpc_server.probe import NO_ANSWER, SERVING, own_tls, status_of

HEALTHY, UNHEALTHY = 0, 1
_NEXT_STEP = "is `extproc serve` running there? Start it, or correct --address (--ca, if it has TLS)"


def run(listen: Listen | None, address: str | None, ca: Path | None) -> int:
    """Print the status of ``address``, or of each address of ``listen.grpc``; return 0 if all serve."""
    addresses = [address] if address else listen.grpc_addresses if listen else []
    try:
        tls = ClientTls(ca=ca) if ca else own_tls(listen.tls if listen else None)
        statuses = {each: status_of(each, tls) for each in addresses}
    except CertificateError as error:
        click.echo(f"extproc: {error}", err=True)
        return UNHEALTHY
    for each, status in statuses.items():
        click.echo(f"{each} {status}")
    if any(status.startswith(NO_ANSWER) for status in statuses.values()):
        click.echo(f"extproc: {_NEXT_STEP}", err=True)
    return HEALTHY if all(status == SERVING for status in statuses.values()) else UNHEALTHY
