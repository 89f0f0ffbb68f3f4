"""The demo's configuration: one provider, one target, two roles. Addresses differ by where it runs."""

from dataclasses import dataclass

import yaml

ACCOUNT_ID = "123456789012"
ADMIN_ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/DemoAdmin"
DEVELOPER_ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/DemoDeveloper"
SIGNING_HOST = "aws-mcp.us-east-1.api.aws"
REGION = "us-east-1"
SERVICE = "aws-mcp"


@dataclass(frozen=True, slots=True)
class Addresses:
    """``HOST:PORT`` of every part of the stack, as the other parts reach it."""

    idp: str
    sts: str
    mcp: str
    extproc: str
    extproc_admin: str
    envoy: str
    envoy_admin: str

    @property
    def issuer(self) -> str:
        """The identity provider's issuer identifier."""
        return f"http://{self.idp}"

    @property
    def resource(self) -> str:
        """The MCP endpoint as clients call it; also the audience of their tokens."""
        return f"http://{self.envoy}/mcp"


def extproc_yaml(addresses: Addresses, *, listen_on_all: bool = False, audit: str = "-") -> str:
    """The server's configuration.

    ``listen_on_all``: for containers, whose network is private. ``audit``: where the audit log goes.
    """
    grpc, admin = addresses.extproc, addresses.extproc_admin
    if listen_on_all:
        grpc, admin = (f"0.0.0.0:{address.rpartition(':')[2]}" for address in (grpc, admin))
    plaintext = {"insecure_plaintext": True} if listen_on_all else {}
    settings = {
        "listen": {"grpc": grpc, "admin": admin, "insecure_plaintext": listen_on_all},
        "resource": {"url": addresses.resource},
        "issuers": [
            {
                "issuer": addresses.issuer,
                "audiences": [addresses.resource],
                "allow_insecure_http": True,
            }
        ],
        "targets": [
            {"name": "aws-mcp", "host": SIGNING_HOST, "endpoint_url": f"http://{addresses.mcp}", **plaintext}
        ],
        "sts": {"endpoint_url": f"http://{addresses.sts}", **plaintext},
        **({"audit": {"output": audit}} if audit != "-" else {}),
        **({} if listen_on_all else {"drain_delay_seconds": 0}),  # nobody else would take over
        "session_duration": 900,
        "role_mappings": [
            {"name": "admins", "claim": "admins", "role_arn": ADMIN_ROLE, "priority": 1},
            {
                "name": "developers",
                "matcher": '"developers" in claims.groups && !has(claims.act)',
                "role_arn": DEVELOPER_ROLE,
                "priority": 2,
            },
        ],
    }
    return yaml.safe_dump(settings, sort_keys=False, width=110)


def service_arguments(name: str, addresses: Addresses, *, listen_on_all: bool = False) -> list[str]:
    """The arguments to Python for one of the emulated services: ``idp``, ``sts`` or ``mcp``."""
    at: str = getattr(addresses, name)
    listen = f"0.0.0.0:{at.rpartition(':')[2]}" if listen_on_all else at
    tokens = ["--issuer", addresses.issuer, "--audience", addresses.resource]
    signing = ["--host", SIGNING_HOST, "--region", REGION, "--service", SERVICE]
    own = {"idp": tokens, "sts": tokens, "mcp": ["--sts-url", f"http://{addresses.sts}", *signing]}
    return ["-m", "extproc.demo.service", name, "--listen", listen, *own[name]]


COMPOSE = Addresses(
    idp="idp:9000",
    sts="sts:9001",
    mcp="mcp:9002",
    extproc="extproc:50051",
    extproc_admin="extproc:9464",
    envoy="localhost:10000",  # as clients on the host call it
    envoy_admin="127.0.0.1:9901",
)
"""The addresses in ``docker-compose.yml``."""
