"""A check that no other process listens where workers are to listen."""

import errno
import socket


def refuse_ports_in_use(addresses: list[str], *, setting: str = "listen.grpc") -> None:
    """Fail if a port is in use, before workers start.

    Workers share a port with SO_REUSEPORT, so another process that does so too would go unnoticed and take
    a part of the traffic. This checks the present moment only. Unix sockets and addresses that fail for
    other reasons are left to the worker that will listen there.

    Raises:
        OSError: a port is in use; the message names the address.
    """
    for address in addresses:
        if address.startswith("unix:"):
            continue
        host, _, port = address.rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except socket.gaierror:
            continue
        for family, kind, protocol, _, name in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(name)
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        raise OSError(
                            f"{setting} {address}: cannot listen there; does another process?"
                        ) from None
