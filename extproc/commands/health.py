"""``extproc health``: checks a listener's gRPC health, with an exit status for orchestrators' probes."""

from pathlib import Path

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.config import Listen
from extproc.grpc_server.certificates import CertificateError
from extproc.grpc_server.channel import ClientTls, connect, tls_to_own_server

TIMEOUT = 2.0  # seconds
HEALTHY, UNHEALTHY = 0, 1


def run(listen: Listen | None, address: str | None, ca: Path | None) -> int:
    """Print the status of ``address``, or of each address of ``listen.grpc``; return 0 if all serve."""
    addresses = [address] if address else listen.grpc_addresses if listen else []
    try:
        tls = ClientTls(ca=ca) if ca else _own_tls(listen)
        statuses = {each: _status(each, tls) for each in addresses}
    except CertificateError as error:
        click.echo(f"extproc: {error}", err=True)
        return UNHEALTHY
    for each, status in statuses.items():
        click.echo(f"{each} {status}")
    return HEALTHY if all(status == "SERVING" for status in statuses.values()) else UNHEALTHY


def _own_tls(listen: Listen | None) -> ClientTls | None:
    tls = listen.tls if listen else None
    if tls is None:
        return None
    return tls_to_own_server(
        Path(tls.certificate), Path(tls.private_key), Path(tls.client_ca) if tls.client_ca else None
    )


def _status(address: str, tls: ClientTls | None) -> str:
    with connect(address, tls) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT
            )
        except grpc.RpcError as error:
            return f"no answer: {error.code().name}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
