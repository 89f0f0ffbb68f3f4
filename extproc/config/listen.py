"""``listen``: where the server listens."""

from pydantic import field_validator, model_validator

from extproc.authn.provider import is_loopback
from extproc.config.fields import HostPort, Section, grpc_address


class Listen(Section):
    """Where the server listens. ``grpc``: one address, or a list with one for each worker."""

    grpc: str | list[str] = "127.0.0.1:50051"
    admin: HostPort | None = "127.0.0.1:9464"
    insecure_plaintext: bool = False  # clear-text gRPC beyond this machine

    @property
    def grpc_addresses(self) -> list[str]:
        """``grpc`` as a list, whichever way it is written."""
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
            local = address.startswith("unix:") or is_loopback(f"http://{address}")
            if not (local or self.insecure_plaintext):
                raise ValueError(
                    f"grpc {address} is not a loopback address: bearer tokens would cross the network in "
                    "clear text; set insecure_plaintext: true only where the network itself is private"
                )
        return self
