"""The demo's configuration: one provider, one target, two roles. The addresses depend on where it runs."""

from dataclasses import dataclass
from typing import Any

import yaml

ACCOUNT_ID = "123456789012"
ADMIN_ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/DemoAdmin"
DEVELOPER_ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/DemoDeveloper"
SIGNING_HOST = "aws-mcp.us-east-1.api.aws"
REGION = "us-east-1"
SERVICE = "aws-mcp"
CONSOLE_CLIENT = "demo-client"  # any program of this machine may use it
# The origins of MCP Inspector's page, whose "direct" connections come from a browser.
WEB_CLIENTS = ["http://127.0.0.1:6274", "http://localhost:6274"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """``HOST:PORT`` of every part of the stack, for the other parts.

    Attributes:
        host: the host in the issuer and the resource: 127.0.0.1 or localhost.
    """

    idp: str
    sts: str
    mcp: str
    extproc: str
    extproc_admin: str
    envoy: str
    envoy_admin: str
    host: str = "127.0.0.1"

    @property
    def issuer(self) -> str:
        """The identity provider's issuer identifier."""
        return f"http://{self.host}:{_port(self.idp)}"

    @property
    def resource(self) -> str:
        """The URL of the MCP endpoint; also the audience of tokens."""
        return f"http://{self.host}:{_port(self.envoy)}/mcp"

    @property
    def resource_alias(self) -> str:
        """The URL of the same endpoint with this machine's other name, for clients that use that one."""
        other = "localhost" if self.host == "127.0.0.1" else "127.0.0.1"
        return f"http://{other}:{_port(self.envoy)}/mcp"

    @property
    def audiences(self) -> list[str]:
        """The accepted audiences: the endpoint under either name."""
        return [self.resource, self.resource_alias]


def extproc_yaml(
    addresses: Addresses,
    *,
    listen_on_all: bool = False,
    audit: str = "-",
    console: str | None = None,
    admin_socket: str = "",
) -> str:
    """Return the server's configuration.

    Args:
        addresses: those of the stack.
        listen_on_all: listen on all interfaces, for containers: their published ports are not on loopback.
        audit: the output of the audit log.
        console: the address of the web console; None for none. It needs ``admin_socket``.
        admin_socket: the path of the admin API's socket.
    """
    grpc, admin = addresses.extproc, addresses.extproc_admin
    if listen_on_all:
        grpc, admin = f"0.0.0.0:{_port(grpc)}", f"0.0.0.0:{_port(admin)}"
    settings: dict[str, Any] = {
        "listen": {"grpc": grpc, "admin": admin, "insecure_plaintext": listen_on_all},
        "resource": {"url": addresses.resource, "aliases": [addresses.resource_alias]},
        "allowed_origins": WEB_CLIENTS,
        "issuers": [
            {
                "issuer": addresses.issuer,
                "audiences": addresses.audiences,
                "allow_insecure_http": True,
            }
        ],
        "targets": [{"name": "aws-mcp", "host": SIGNING_HOST, "endpoint_url": f"http://{addresses.mcp}"}],
        "sts": {"endpoint_url": f"http://{addresses.sts}"},
        **({"audit": {"output": audit}} if audit != "-" else {}),
        **({} if listen_on_all else {"drain_delay_seconds": 0}),  # no other server would take over
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
    if console is not None:
        settings |= _console(addresses, console)
        settings["listen"] |= {"admin_grpc": f"unix:{admin_socket}", "console": console}
    return yaml.safe_dump(settings, sort_keys=False, width=110)


def _console(addresses: Addresses, console: str) -> dict[str, Any]:
    """Return the section ``console``: developers may look, administrators may do everything."""
    admins = '"admins" in claims.groups'
    section = {
        "url": f"http://{addresses.host}:{_port(console)}",
        "oidc": {"client_id": CONSOLE_CLIENT},
        "matcher": f'{admins} || "developers" in claims.groups',
        "act_matcher": admins,
        "claims_matcher": admins,
        "envoy_admin": addresses.envoy_admin,
    }
    return {"console": section}


def service_arguments(name: str, addresses: Addresses, *, listen_on_all: bool = False) -> list[str]:
    """Return the arguments of Python for one of the emulated services: ``idp``, ``sts`` or ``mcp``."""
    at: str = getattr(addresses, name)
    listen = f"0.0.0.0:{_port(at)}" if listen_on_all and name == "idp" else at  # the others are not published
    signing = ["--host", SIGNING_HOST, "--region", REGION, "--service", SERVICE]
    own = {
        "idp": ["--issuer", addresses.issuer, "--audience", addresses.resource],
        "sts": [
            "--issuer",
            addresses.issuer,
            *(part for url in addresses.audiences for part in ("--audience", url)),
        ],
        "mcp": ["--sts-url", f"http://{addresses.sts}", *signing],
    }
    return ["-m", "extproc.demo.service", name, "--listen", listen, *own[name]]


def _port(address: str) -> str:
    return address.rpartition(":")[2]


FIXED_CONSOLE = "127.0.0.1:9466"
FIXED = Addresses(
    idp="127.0.0.1:9000",
    sts="127.0.0.1:9001",
    mcp="127.0.0.1:9002",
    extproc="127.0.0.1:50051",
    extproc_admin="127.0.0.1:9464",
    envoy="127.0.0.1:10000",
    envoy_admin="127.0.0.1:9901",
    host="localhost",
)
"""The same addresses each time, for ``--ports fixed`` and ``docker-compose.yml``: clients stay configured.

The containers share one network namespace and publish its ports under the same numbers, so ``localhost``
means the same to them and to browsers on the host.
"""
