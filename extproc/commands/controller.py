"""``extproc controller``: watches a cluster and writes configurations into it."""

import asyncio
import signal
import socket
import sys
import uuid
from pathlib import Path
from typing import Any

import click

from extproc import config
from extproc.commands.options import FILE, or_exit
from extproc.envoy_gateway.options import GatewayOptions, NameRefusedError
from extproc.extras import how_to_install
from extproc.telemetry import logs

STOPPED, FAILED, BAD_INPUT = 0, 1, 2


@click.command("controller", short_help="Write configurations in Kubernetes from the resources of its users.")
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    required=True,
    help="A namespace to watch; may be given several times.",
)
@click.option(
    "--settings", "settings_path", type=FILE, help="Sections of each configuration, like `listen` (YAML)."
)
@click.option("--service", default="extproc", show_default=True, help="extproc's Service, for Envoy Gateway.")
@click.option(
    "--lease", default="extproc-controller", show_default=True, help="The Lease that elects a leader."
)
@click.option("--lease-namespace", help="Its namespace. [default: the first --namespace]")
@click.option("--kubeconfig", help="[default: the pod's service account, $KUBECONFIG or ~/.kube/config]")
@click.option(
    "--probes", default="127.0.0.1:9465", show_default=True, help="HOST:PORT of /healthz and /readyz."
)
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
def controller(
    *,
    namespaces: tuple[str, ...],
    settings_path: Path | None,
    service: str,
    lease: str,
    lease_namespace: str | None,
    kubeconfig: str | None,
    probes: str,
    log_level: str,
) -> None:
    """Write configurations in Kubernetes from the resources of its users.

    It watches opted-in MCPRemoteProxy and MCPServer objects of ToolHive with what they refer to, and
    labelled ConfigMaps. For each that is valid it writes a ConfigMap, and Envoy Gateway's resources if a
    Gateway is named.
    """
    try:
        from extproc.controller.api import ApiError, KubernetesApi
    except ImportError:
        click.echo(f"extproc controller needs the extra kubernetes: {how_to_install('kubernetes')}", err=True)
        sys.exit(BAD_INPUT)
    from prometheus_client import CollectorRegistry

    from extproc.admin.http import AdminServer
    from extproc.controller.lease import Lease, LostLeadershipError
    from extproc.controller.manager import Manager

    _refuse_bad_names(namespaces, service, probes)
    logs.configure(log_level)
    base = _base(settings_path)
    identity = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"

    async def work() -> None:
        api = KubernetesApi(kubeconfig)
        election = Lease(api, lease_namespace or namespaces[0], lease, identity)
        manager = Manager(
            api, list(dict.fromkeys(namespaces)), election, base=base, service=service, identity=identity
        )
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        server = AdminServer(
            probes, registry=CollectorRegistry(), unready=manager.unsynced, setting="--probes"
        )
        server.start()
        try:
            await manager.run(stopped)
        finally:
            await asyncio.to_thread(server.stop)

    try:
        asyncio.run(work())
    except LostLeadershipError:
        click.echo("extproc: the Lease could not be renewed; another replica may lead", err=True)
        sys.exit(FAILED)
    except (ApiError, OSError) as error:
        click.echo(f"extproc: {error}", err=True)
        sys.exit(FAILED)


def _refuse_bad_names(namespaces: tuple[str, ...], service: str, probes: str) -> None:
    """Raise ``click.UsageError`` for names that Kubernetes would refuse with each request."""
    try:
        for namespace in namespaces:
            GatewayOptions(gateway="gateway", service=service, namespace=namespace)
        config.host_port(probes)
    except NameRefusedError as error:
        raise click.UsageError(str(error)) from None
    except ValueError as error:
        raise click.UsageError(f"--probes: {error}") from None


def _base(path: Path | None) -> dict[str, Any]:
    """Return the operator's sections; exits with 2 if they are none."""
    if path is None:
        return {}
    documents = or_exit(lambda: config.read_documents(config.read_text(path)))
    if len(documents) != 1 or not isinstance(documents[0], dict):
        click.echo(f"{path}: one YAML document with settings is expected", err=True)
        sys.exit(BAD_INPUT)
    return documents[0]
