"""Asks a gRPC listener for its health, for ``extproc health`` and ``extproc doctor``."""

from pathlib import Path
from typing import Protocol

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.grpc_server.channel import ClientTls, connect, tls_to_own_server

TIMEOUT = 2.0  # seconds
SERVING = "SERVING"
NO_ANSWER = "no answer"


class TlsPaths(Protocol):
    """The paths in ``listen.tls``."""

    @property
    def certificate(self) -> str:
        """The chain."""

    @property
    def private_key(self) -> str:
        """The key to it."""

    @property
    def client_ca(self) -> str | None:
        """The authority of clients' certificates, if they need one."""


def own_tls(paths: TlsPaths | None) -> ClientTls | None:
    """Return TLS for a probe on the server's machine; None for a listener in clear text.

    Raises:
        CertificateError: the files cannot be used.
    """
    if paths is None:
        return None
    client_ca = Path(paths.client_ca) if paths.client_ca else None
    return tls_to_own_server(Path(paths.certificate), Path(paths.private_key), client_ca)


def status_of(address: str, tls: ClientTls | None) -> str:
    """Return the name of the health status, or "no answer: CODE". Blocks for at most ``TIMEOUT``."""
    with connect(address, tls) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT
            )
        except grpc.RpcError as error:
            return f"{NO_ANSWER}: {error.code().name}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
