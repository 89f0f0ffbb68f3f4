"""Whether somebody listens already where workers are to listen."""

import errno
import socket


def refuse_ports_in_use(addresses: list[str]) -> None:
    """Look before workers are started: on a port that workers share, others could listen unnoticed.

    Only tells what is so now. Unix sockets, and addresses that cannot be had for other reasons, are
    left to the worker that will listen there.

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
                            f"listen.grpc {address}: cannot listen there; does another process?"
                        ) from None
