"""``listen``: addresses of the server, and who may connect."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from extproc.config.fields import GrpcAddress, HostPort, Section, grpc_address
from extproc.loopback import is_loopback_url

_MODE = re.compile(r"0?[0-7]{3}")
_OWNER = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?|:[A-Za-z0-9_][A-Za-z0-9_.-]*"
)
_CLIENT_URI = re.compile(r"[a-z][a-z0-9+.-]*://[\x21-\x29\x2b-\x7e]+")
_CLIENT_DNS = re.compile(
    r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
)


def stays_local(address: str) -> bool:
    """Return whether a gRPC address can only be reached from this machine."""
    return address.startswith("unix:") or is_loopback_url(f"http://{address}")


def _mode(value: object) -> object:
    # YAML reads 0660 without quotes as the number 432, and 660 as 660.
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise ValueError('must be an octal string in quotes, like "0660"')
    return value


def _owner(value: str) -> str:
    if not _OWNER.fullmatch(value):
        raise ValueError("must be user, user:group or :group, by name or number")
    return value


def client_name(value: str) -> str:
    """Return the value if it is a name of a client's certificate; raises ``ValueError`` otherwise."""
    if not (_CLIENT_URI.fullmatch(value) or _CLIENT_DNS.fullmatch(value)):
        raise ValueError(
            "must be a URI like spiffe://example.org/envoy, or a lower-case DNS name like envoy.example.org "
            "or *.envoy.example.org"
        )
    return value


class Tls(Section):
    """TLS for the gRPC listener, from PEM files. With ``client_ca``, clients need a certificate."""

    certificate: Annotated[str, Field(min_length=1)]  # the chain, beginning with the server's own
    private_key: Annotated[str, Field(min_length=1)]
    client_ca: Annotated[str, Field(min_length=1)] | None = None
    allowed_clients: list[Annotated[str, AfterValidator(client_name)]] = []

    @model_validator(mode="after")
    def _clients_are_known(self) -> "Tls":
        if self.allowed_clients and self.client_ca is None:
            raise ValueError("allowed_clients needs client_ca: without it no client's name is verified")
        return self


class Listen(Section):
    """Addresses of the server, and who may connect. ``grpc``: one address, or one for each worker."""

    grpc: str | list[str] = "127.0.0.1:50051"
    admin: HostPort | None = "127.0.0.1:9464"
    admin_grpc: GrpcAddress | None = None
    console: GrpcAddress | None = None
    admin_clients: list[Annotated[str, AfterValidator(client_name)]] = []
    tls: Tls | None = None
    socket_mode: Annotated[str, BeforeValidator(_mode)] = "0660"
    socket_owner: Annotated[str, AfterValidator(_owner)] | None = None
    engine: Literal["auto", "completion_queue", "aio"] = "auto"
    insecure_plaintext: bool = False  # clear-text gRPC beyond this machine

    @property
    def grpc_addresses(self) -> list[str]:
        """Return ``grpc`` as a list, in either form."""
        return [self.grpc] if isinstance(self.grpc, str) else self.grpc

    @field_validator("grpc", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        if isinstance(value, str):
            return grpc_address(value)
        if not isinstance(value, list) or not value:
            raise ValueError("must be HOST:PORT or unix:/path, or a list of these")
        for address in value:
            if not isinstance(address, str):
                raise ValueError("must be a list of HOST:PORT or unix:/path")  # noqa: TRY004 - pydantic's protocol
            try:
                grpc_address(address)
            except ValueError as error:
                raise ValueError(f"{address}: {error}") from None
        if len(set(value)) < len(value):
            raise ValueError("an address is listed twice")
        return value

    @model_validator(mode="after")
    def _plaintext_stays_local(self) -> "Listen":
        for address in self.grpc_addresses:
            if not (stays_local(address) or self.tls or self.insecure_plaintext):
                raise ValueError(
                    f"grpc {address} is not a loopback address: bearer tokens would cross the network "
                    "in clear text; set tls, or insecure_plaintext: true only where the network itself "
                    "is private"
                )
        return self

    @model_validator(mode="after")
    def _admin_is_guarded(self) -> "Listen":
        if self.admin_grpc is None or stays_local(self.admin_grpc):
            if self.admin_clients:
                raise ValueError("admin_clients is for an admin_grpc beyond this machine")
        elif self.tls is None or self.tls.client_ca is None or not self.admin_clients:
            # Its clients can end all sessions, so Envoy's certificate must not be sufficient.
            raise ValueError(
                "admin_grpc is not a loopback address: it needs tls.client_ca and admin_clients, "
                "or better a Unix socket"
            )
        if self.admin_grpc is not None and self.admin_grpc in (*self.grpc_addresses, self.admin):
            raise ValueError("admin_grpc needs an address of its own")
        return self

    @model_validator(mode="after")
    def _console_has_what_it_shows(self) -> "Listen":
        if self.console is None:
            return self
        if self.admin_grpc is None:
            raise ValueError("console needs admin_grpc, the API that it shows; best a Unix socket")
        if self.console in (*self.grpc_addresses, self.admin, self.admin_grpc):
            raise ValueError("console needs an address of its own")
        return self
