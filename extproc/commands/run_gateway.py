"""``extproc run``: renders Envoy's configuration, starts both, shows where they listen."""

import asyncio
import contextlib
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from extproc.app.watch import changes
from extproc.commands.options import loader
from extproc.config import ConfigError, Settings
from extproc.envoyconf.bootstrap import render
from extproc.envoyconf.options import EnvoyOptions, OptionsError
from extproc.gateway.gateway import Gateway, GatewayError
from extproc.gateway.programs import NoEnvoyError, envoy_command, find_envoy, system_ca_file
from extproc.grpc_server.certificates import CertificateError
from extproc.grpc_server.probe import SERVING, own_tls, status_of
from extproc.loopback import is_loopback_url
from extproc.workers.ports import refuse_ports_in_use

STOPPED, FAILED, BAD_INPUT = 0, 1, 2
_COLOURS: Final = {"extproc": "cyan", "envoy": "magenta", "run": "green"}
_WIDTH: Final = max(map(len, _COLOURS))


def run(
    settings: Settings,
    path: Path,
    *,
    program: Path | None,
    workers: int,
    log_level: str,
    envoy_log_level: str,
    listen: str | None,
    ca_file: str | None,
    **options: Any,
) -> int:
    """Run the server and Envoy until a signal; return the exit status."""
    try:
        envoy_options = EnvoyOptions(
            listen=listen or default_listen(settings), ca_file=ca_file or system_ca_file(), **options
        )
    except OptionsError as error:
        raise click.UsageError(str(error)) from None
    read = loader(path)
    with tempfile.TemporaryDirectory(prefix="extproc-run-") as directory:
        bootstrap = Path(directory, "envoy.yaml")
        try:
            refuse_ports_in_use([envoy_options.listen], setting="--listen")
            refuse_ports_in_use([envoy_options.admin], setting="--admin")
            refuse_ports_in_use(settings.listen.grpc_addresses)
            if settings.listen.admin is not None:
                refuse_ports_in_use([settings.listen.admin], setting="listen.admin")
            program_path = find_envoy(program)
            rendered = render(settings, envoy_options)
            bootstrap.write_text(rendered, encoding="utf-8")
            server = [*_serve_command(), "--workers", str(workers), "--log-level", log_level]
            asyncio.run(
                _run(
                    settings,
                    path,
                    envoy_options,
                    server_command=server,
                    envoy=envoy_command(program_path, bootstrap, log_level=envoy_log_level),
                    bootstrap=bootstrap,
                    differs=lambda: render(read(), envoy_options) != rendered,
                )
            )
        except (OSError, NoEnvoyError, GatewayError, CertificateError) as error:
            say(str(error))
            return FAILED
    return STOPPED


def default_listen(settings: Settings) -> str:
    """Return where clients of ``resource.url`` connect, if that is this machine without TLS."""
    parts = urlsplit(settings.resource.url)
    if parts.scheme == "http" and parts.port and is_loopback_url(settings.resource.url):
        return f"127.0.0.1:{parts.port}"
    return EnvoyOptions().listen


def _serve_command() -> list[str]:
    """Return the command line of ``extproc serve`` with the configuration's options of this process."""
    given = click.get_current_context().params
    meta = click.get_current_context().meta.get("extproc.supplement", {})
    options = [f"--{name}={value}" for name, value in meta.items() if value is not None]
    return [sys.executable, "-m", "extproc", "serve", "--config", str(given["config_path"]), *options]


async def _run(
    settings: Settings,
    path: Path,
    options: EnvoyOptions,
    *,
    server_command: list[str],
    envoy: list[str],
    bootstrap: Path,
    differs: Callable[[], bool],
) -> None:
    tls = own_tls(settings.listen.tls)

    async def unready() -> list[str]:
        statuses = await asyncio.gather(
            *(asyncio.to_thread(status_of, address, tls) for address in settings.listen.grpc_addresses)
        )
        if all(status == SERVING for status in statuses):
            return []
        return await asyncio.to_thread(_reasons, settings.listen.admin) or [f"health: {statuses[0]}"]

    def compare() -> None:
        with contextlib.suppress(ConfigError):  # the server says what is wrong
            if differs():
                say("Envoy's configuration would be another one now: start `extproc run` again to apply it")

    async def watch() -> None:
        async for _ in changes(lambda: [path]):
            compare()

    gateway = Gateway(
        server_command=server_command,
        envoy_command=envoy,
        envoy_admin=options.admin,
        unready=unready,
        drain_seconds=settings.drain_seconds,
        write=write,
        say=say,
        on_hangup=compare,
    )
    watching = asyncio.create_task(watch())
    try:
        await gateway.run(lambda: say("\n".join(addresses(settings, options, path, bootstrap))))
    finally:
        watching.cancel()
    say("stopped")


def addresses(settings: Settings, options: EnvoyOptions, path: Path, bootstrap: Path) -> list[str]:
    """Return lines that say where everything listens, and what to do next."""
    scheme = "https" if options.tls_cert else "http"
    at = f"{scheme}://{options.listen}{urlsplit(settings.resource.url).path}"
    rows = [("clients", at)]
    if not _same_place(settings.resource.url, at):
        rows.append(("", f"as {settings.resource.url} (resource.url): its host must lead here"))
    rows += [
        ("Envoy's admin", f"http://{options.admin}"),
        ("extproc, gRPC", ", ".join(settings.listen.grpc_addresses)),
    ]
    if settings.listen.admin is not None:
        rows.append(("metrics", f"http://{settings.listen.admin}/metrics"))
    rows += [
        ("Envoy's file", str(bootstrap)),
        ("next", f"extproc connect claude-code --config {path}"),
        ("", f"extproc doctor --config {path} --envoy {options.admin}"),
    ]
    return ["ready", *(f"  {name:<14} {value}" for name, value in rows)]


def _same_place(url: str, at: str) -> bool:
    """Return whether both URLs lead to the same port of this machine."""
    return is_loopback_url(url) and is_loopback_url(at) and urlsplit(url).port == urlsplit(at).port


def _reasons(admin: str | None) -> list[str]:
    """Return why the server says that it is not ready; nothing if it does not answer yet."""
    if admin is None:
        return []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"http://{admin}/readyz", timeout=2.0).close()
    except urllib.error.HTTPError as error:
        return error.read().decode("utf-8", "replace").splitlines()[:3]
    except OSError:
        pass
    return []


def write(name: str, line: bytes, errors: bool) -> None:  # noqa: FBT001 - the type ``Write``
    """Write one line of a part's output with its prefix, to the same stream."""
    stream = sys.stderr if errors else sys.stdout
    prefix = f"{name:<{_WIDTH}} | "
    if stream.isatty():
        prefix = click.style(prefix, fg=_COLOURS[name])
    with contextlib.suppress(OSError):  # whoever read it has gone, and the gateway stays
        stream.buffer.write(prefix.encode() + line + b"\n")
        stream.flush()


def say(message: str) -> None:
    """Show a message of this process."""
    for line in message.splitlines():
        write("run", line.encode(), True)  # noqa: FBT003
