"""``extproc serve``: one process, or a supervisor and its workers."""

import asyncio
import sys

import click

from extproc.config import Settings
from extproc.workers.place import Place, share_out


def run(settings: Settings, *, workers: int, as_worker: str | None) -> int:
    """Serve until SIGTERM; returns the exit status. ``as_worker``: a supervisor's word to its worker."""
    try:
        shares = share_out(settings.listen.grpc_addresses, workers)
    except ValueError as error:
        click.echo(f"listen.grpc: {error}", err=True)
        return 2
    try:
        if workers > 1 and as_worker is None:
            from extproc.workers.supervisor import Supervisor  # noqa: PLC0415 - see below

            async def supervise() -> None:
                # Workers are started as we were: the same interpreter, program and options.
                command = [sys.executable, *sys.orig_argv[1:]]
                await Supervisor(settings=settings, shares=shares, command=command).run()

            asyncio.run(supervise())
        else:
            # A supervisor never loads what serves.
            from extproc.app.lifecycle import App  # noqa: PLC0415

            async def serve() -> None:
                await App(settings, place=Place.from_json(as_worker) if as_worker else None).run()

            asyncio.run(serve())
    except (OSError, RuntimeError) as error:
        click.echo(f"extproc: {error}", err=True)
        return 1
    return 0
