"""Checks of the running server: its gRPC listener and its health."""

import asyncio
import socket
from functools import partial

from extproc.authn.own_thread import in_own_thread
from extproc.doctor.examination import Examination
from extproc.doctor.finding import Finding, failed, passed, skipped
from extproc.grpc_server.certificates import CertificateError
from extproc.grpc_server.channel import reachable
from extproc.grpc_server.probe import SERVING, own_tls, status_of

_TIMEOUT = 2.0  # seconds


async def listener(examination: Examination) -> list[Finding]:
    """Connect to every address of ``listen.grpc``."""
    return list(await asyncio.gather(*(_listener(examination, each) for each in _addresses(examination))))


async def health(examination: Examination) -> list[Finding]:
    """Ask every address for its gRPC health."""
    return list(await asyncio.gather(*(_health(examination, each) for each in _addresses(examination))))


def _addresses(examination: Examination) -> list[str]:
    return examination.settings.listen.grpc_addresses


async def _listener(examination: Examination, address: str) -> Finding:
    try:
        await in_own_thread(partial(_connect, address), name="doctor")
    except OSError as error:
        examination.broken[address] = "listener"
        detail = f"nothing answers at {address}: {error.strerror or 'timed out'}"
        return failed(_subject(address), detail, "start `extproc serve --config F`, or correct listen.grpc")
    return passed(_subject(address), "accepts connections")


def _connect(address: str) -> None:
    target = reachable(address)
    if target.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as local:
            local.settimeout(_TIMEOUT)
            local.connect(target.removeprefix("unix:"))
        return
    host, _, port = target.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT).close()


async def _health(examination: Examination, address: str) -> Finding:
    earlier = examination.broken.get(address)
    if earlier is not None:
        return skipped(_subject(address), f"see {earlier}")
    try:
        tls = own_tls(examination.settings.listen.tls)
        status = await in_own_thread(partial(status_of, address, tls), name="doctor")
    except CertificateError as error:
        return failed(_subject(address), str(error), "correct the files of listen.tls")
    if status == SERVING:
        return passed(_subject(address), status)
    next_step = "read the server's log and /readyz: it serves once it has an issuer's keys"
    if status.startswith("no answer"):
        next_step = "another program has this port, or TLS is on one side only: compare listen.tls"
    return failed(_subject(address), status, next_step)


def _subject(address: str) -> str:
    return f"listen.grpc {address}"
