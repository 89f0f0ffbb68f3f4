"""``listen``: where the server listens."""

from pydantic import model_validator

from extproc.authn.provider import is_loopback
from extproc.config.fields import GrpcAddress, HostPort, Section


class Listen(Section):
    """Where the server listens."""

    grpc: GrpcAddress = "127.0.0.1:50051"
    admin: HostPort | None = "127.0.0.1:9464"
    insecure_plaintext: bool = False  # clear-text gRPC beyond this machine

    @model_validator(mode="after")
    def _plaintext_stays_local(self) -> "Listen":
        local = self.grpc.startswith("unix:") or is_loopback(f"http://{self.grpc}")
        if not (local or self.insecure_plaintext):
            raise ValueError(
                "grpc is not a loopback address: bearer tokens would cross the network in clear text; "
                "set insecure_plaintext: true only where the network itself is private"
            )
        return self
