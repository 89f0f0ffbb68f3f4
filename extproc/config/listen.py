"""``listen``: where the server listens, and who may connect there."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from extproc.authn.provider import is_loopback
from extproc.config.fields import GrpcAddress, HostPort, Section

_MODE = re.compile(r"0?[0-7]{3}")
_OWNER = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?|:[A-Za-z0-9_][A-Za-z0-9_.-]*"
)
_CLIENT_URI = re.compile(r"[a-z][a-z0-9+.-]*://[\x21-\x29\x2b-\x7e]+")
_CLIENT_DNS = re.compile(
    r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
)


def stays_local(address: str) -> bool:
    """Whether a gRPC address can only be reached from this machine."""
    return address.startswith("unix:") or is_loopback(f"http://{address}")


def _mode(value: object) -> object:
    # YAML reads 0660 without quotes as the number 432, and 660 as 660.
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise ValueError('must be an octal text in quotes, like "0660"')
    return value


def _owner(value: str) -> str:
    if not _OWNER.fullmatch(value):
        raise ValueError("must be user, user:group or :group, by name or number")
    return value


def _client(value: str) -> str:
    if not (_CLIENT_URI.fullmatch(value) or _CLIENT_DNS.fullmatch(value)):
        raise ValueError(
            "must be a URI like spiffe://example.org/envoy, or a lower-case DNS name like envoy.example.org "
            "or *.envoy.example.org"
        )
    return value


class Tls(Section):
    """TLS for the gRPC listener, from PEM files; with ``client_ca`` clients need a certificate too."""

    certificate: Annotated[str, Field(min_length=1)]  # the chain, the server's own first
    private_key: Annotated[str, Field(min_length=1)]
    client_ca: Annotated[str, Field(min_length=1)] | None = None
    allowed_clients: list[Annotated[str, AfterValidator(_client)]] = []

    @model_validator(mode="after")
    def _clients_are_known(self) -> "Tls":
        if self.allowed_clients and self.client_ca is None:
            raise ValueError("allowed_clients needs client_ca, or nobody's name is known")
        return self


class Listen(Section):
    """Where the server listens, and who may connect there."""

    grpc: GrpcAddress = "127.0.0.1:50051"
    admin: HostPort | None = "127.0.0.1:9464"
    tls: Tls | None = None
    socket_mode: Annotated[str, BeforeValidator(_mode)] = "0660"
    socket_owner: Annotated[str, AfterValidator(_owner)] | None = None
    engine: Literal["auto", "completion_queue", "aio"] = "auto"
    insecure_plaintext: bool = False  # clear-text gRPC beyond this machine

    @model_validator(mode="after")
    def _plaintext_stays_local(self) -> "Listen":
        if not (stays_local(self.grpc) or self.tls or self.insecure_plaintext):
            raise ValueError(
                "grpc is not a loopback address: bearer tokens would cross the network in clear text; "
                "set tls, or insecure_plaintext: true only where the network itself is private"
            )
        return self
