"""``cache.shared``: the store through which replicas share credentials and revocations."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from extproc.config.fields import Section, host_port
from extproc.loopback import is_loopback_url

_SCHEMES = ("valkey", "valkeys", "redis", "rediss", "unix")
_ENCRYPTED = ("valkeys", "rediss")


def _store_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in _SCHEMES or parts.query or parts.fragment or not value.isprintable():
        raise ValueError(f"must be a URL of {', '.join(_SCHEMES)}, without query or fragment")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password; use username and password_file")
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError("must be unix:///path with an absolute path")
        return value
    database = parts.path.strip("/")
    if not parts.hostname or parts.port == 0 or (database and not database.isdecimal()):
        raise ValueError("must be like valkeys://HOST:PORT, with the number of a database at most")
    return value


class SharedStore(Section):
    """A Valkey or Redis server behind the sessions in memory. Times in seconds.

    Attributes:
        secret_file: one or two secrets, a line each; names and seals entries.
        nodes: further nodes of the cluster, or further Sentinels.
        sentinel: the service's name, if ``url`` leads to a Sentinel.
        timeout: how long a request waits for the store.
        connections: the most that are open for requests.
    """

    url: Annotated[str, AfterValidator(_store_url)]
    secret_file: Annotated[str, Field(min_length=1)]
    username: Annotated[str, Field(min_length=1)] | None = None
    password_file: str | None = None
    ca_file: str | None = None
    certificate: str | None = None
    private_key: str | None = None
    insecure_plaintext: bool = False  # valkey:// to another machine
    sentinel: Annotated[str, Field(min_length=1)] | None = None
    cluster: bool = False
    nodes: list[Annotated[str, AfterValidator(host_port)]] = []
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "extproc"
    timeout: Annotated[float, Field(ge=0.01, le=1)] = 0.1
    connections: Annotated[int, Field(ge=1, le=256)] = 8

    @property
    def is_encrypted(self) -> bool:
        """Return whether connections use TLS."""
        return urlsplit(self.url).scheme in _ENCRYPTED

    @model_validator(mode="after")
    def _consistent(self) -> "SharedStore":
        scheme = urlsplit(self.url).scheme
        if scheme != "unix" and not self.is_encrypted and not self.insecure_plaintext:
            nodes = [self.url, *(f"//{node}" for node in self.nodes)]
            if not all(is_loopback_url(node) for node in nodes):
                raise ValueError(
                    "url: the store's password would go over the network in clear text; use valkeys://, or "
                    "insecure_plaintext: true only where the network is private"
                )
        if self.sentinel and self.cluster:
            raise ValueError("sentinel and cluster exclude each other")
        if scheme == "unix" and (self.sentinel or self.cluster or self.nodes):
            raise ValueError("url: a Unix socket leads to one server: without sentinel, cluster and nodes")
        if self.nodes and not (self.sentinel or self.cluster):
            raise ValueError("nodes: needs sentinel or cluster")
        if self.cluster and urlsplit(self.url).path.strip("/") not in ("", "0"):
            raise ValueError("url: a cluster has no database but 0")
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together")
        if not self.is_encrypted and (self.ca_file or self.certificate):
            raise ValueError("ca_file and certificate need valkeys:// or rediss://")
        if self.username and not self.password_file:
            raise ValueError("username needs password_file")
        return self
