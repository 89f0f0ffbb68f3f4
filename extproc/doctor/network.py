"""Checks of names, connections and TLS, for every endpoint that the configuration names."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from itertools import chain

from extproc.authn.own_thread import in_own_thread
from extproc.doctor.examination import Endpoint, Examination
from extproc.doctor.finding import Finding, Result, failed, passed, skipped, warned

TIMEOUT = 5.0  # seconds, for one name, connection or handshake
_SOON = 14  # days
_DAY = 86_400.0

Probe = Callable[[Endpoint, Examination], list[Finding]]


async def names(examination: Examination) -> list[Finding]:
    """Resolve the name of every endpoint."""
    return await _each(examination, "names", _name)


async def connections(examination: Examination) -> list[Finding]:
    """Connect to every endpoint."""
    return await _each(examination, "connections", _connection)


async def tls(examination: Examination) -> list[Finding]:
    """Verify the certificates of every endpoint with TLS, and that others do not expect TLS."""
    return await _each(examination, "tls", _tls)


async def _each(examination: Examination, check: str, probe: Probe) -> list[Finding]:
    """Probe all endpoints at once, each in a thread of its own; what fails is marked as broken."""

    async def examine(endpoint: Endpoint) -> list[Finding]:
        earlier = examination.broken.get(endpoint.url)
        if earlier is not None:
            return [skipped(endpoint.subject, f"see {earlier}")]
        try:
            async with asyncio.timeout(TIMEOUT + 1.0):  # name resolution has no timeout of its own
                findings = await in_own_thread(partial(probe, endpoint, examination), name="doctor")
        except TimeoutError:
            next_step = "check the name servers and the firewall of this machine"
            findings = [failed(endpoint.subject, f"no answer within {TIMEOUT:.0f} s", next_step)]
        if any(finding.result is Result.FAIL for finding in findings):
            examination.broken[endpoint.url] = check
        return findings

    return list(chain.from_iterable(await asyncio.gather(*map(examine, examination.endpoints))))


def _name(endpoint: Endpoint, _examination: Examination) -> list[Finding]:
    try:
        found = socket.getaddrinfo(*endpoint.address, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        next_step = f"correct the host in {endpoint.setting}, or the name servers of this machine"
        return [failed(endpoint.subject, f"cannot resolve {endpoint.host}", next_step)]
    addresses = sorted({str(entry[4][0]) for entry in found})
    return [passed(endpoint.subject, f"{endpoint.host} is {', '.join(addresses[:3])}")]


def _connection(endpoint: Endpoint, _examination: Examination) -> list[Finding]:
    host, port = endpoint.address
    try:
        socket.create_connection((host, port), TIMEOUT).close()
    except ConnectionRefusedError:
        next_step = f"start the server, or correct the port in {endpoint.setting}"
        return [failed(endpoint.subject, f"{host}:{port} refuses connections", next_step)]
    except OSError as error:
        next_step = "look for a firewall, a missing route or a proxy between this machine and the server"
        return [failed(endpoint.subject, f"{host}:{port}: {_describe(error)}", next_step)]
    return [passed(endpoint.subject, f"connected to {host}:{port}")]


def _tls(endpoint: Endpoint, examination: Examination) -> list[Finding]:
    return _certificate(endpoint, examination) if endpoint.secure else _clear_text(endpoint)


def _certificate(endpoint: Endpoint, examination: Examination) -> list[Finding]:
    host = endpoint.host
    try:
        expires_at = _handshake(endpoint, ssl.create_default_context())
    except ssl.SSLCertVerificationError as error:
        next_step = "correct the host or the server's certificate, or trust its CA here (SSL_CERT_FILE)"
        return [
            failed(
                endpoint.subject,
                f"the certificate is not valid for {host}: {error.verify_message}",
                next_step,
            )
        ]
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return [
                failed(
                    endpoint.subject,
                    "the server answers in clear text, and the URL says https",
                    "use the port that has TLS",
                )
            ]
        return [failed(endpoint.subject, f"TLS handshake failed: {error.reason}", "check the server's TLS")]
    except OSError as error:
        return [
            failed(endpoint.subject, f"TLS handshake failed: {_describe(error)}", "check the server's TLS")
        ]
    days = (expires_at - examination.clock()) / _DAY
    if days < _SOON:
        return [warned(endpoint.subject, f"the certificate of {host} expires in {days:.0f} days", "renew it")]
    return [passed(endpoint.subject, f"the certificate of {host} is valid for {days:.0f} days")]


def _handshake(endpoint: Endpoint, context: ssl.SSLContext) -> float:
    """Return when the server's certificate expires, in seconds since the epoch; 0 if it is not verified."""
    with (
        socket.create_connection(endpoint.address, TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=endpoint.host) as encrypted,
    ):
        certificate = encrypted.getpeercert()
    return ssl.cert_time_to_seconds(str(certificate["notAfter"])) if certificate else 0.0


def _clear_text(endpoint: Endpoint) -> list[Finding]:
    # Nothing is sent over this connection: it only shows whether the server speaks TLS.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        _handshake(endpoint, context)
    except OSError:  # as it should: ssl.SSLError is an OSError
        return [skipped(endpoint.subject, "clear text by configuration")]
    next_step = f"write https:// in {endpoint.setting}"
    return [failed(endpoint.subject, "the server expects TLS, and the URL says http", next_step)]


def _describe(error: OSError) -> str:
    return "timed out" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
