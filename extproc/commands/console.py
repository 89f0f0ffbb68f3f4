"""``extproc console``: the web console of a running server, as a process of its own."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from extproc.config import Settings
from extproc.extras import how_to_install


def run(
    settings: Settings, *, load: Callable[[], Settings], files: Sequence[Path], lifeline: int | None
) -> int:
    """Serve until SIGTERM, or until the pipe ``lifeline`` closes; return the exit status."""
    if settings.listen.console is None:
        click.echo("listen.console: is not set", err=True)
        return 2
    try:
        from extproc.console import process  # noqa: PLC0415 - it needs an extra
    except ModuleNotFoundError as error:
        click.echo(f"extproc console needs {error.name}: {how_to_install('console')}", err=True)
        return 1
    from extproc.grpc_server.certificates import CertificateError  # noqa: PLC0415

    try:
        asyncio.run(process.run(settings, load=load, files=files, lifeline=lifeline))
    except (OSError, CertificateError) as error:
        click.echo(f"extproc: {error}", err=True)
        return 1
    return 0
