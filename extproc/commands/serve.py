"""``extproc serve``: one process, or a supervisor and its workers."""

import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from extproc.config import Settings
from extproc.grpc_server import engine_choice
from extproc.telemetry import logs
from extproc.workers.spec import ListenSlice, WorkerSpec, share_out

_SWITCH_AFTER = 0.0005  # seconds that a thread may go on while another wants to

_COLLECT_AFTER = 50_000
"""Objects made and not freed since, after which cyclic garbage is looked for."""


def run(
    settings: Settings,
    *,
    load: Callable[[], Settings],
    files: Sequence[Path],
    workers: int,
    as_worker: str | None,
) -> int:
    """Serve until SIGTERM; returns the exit status.

    ``load`` reads the settings again, from ``files``. ``as_worker``: a supervisor's word to its worker.
    """
    try:
        shares = share_out(settings.listen.grpc_addresses, workers)
    except ValueError as error:
        click.echo(f"listen.grpc: {error}", err=True)
        return 2
    try:
        if as_worker is not None:
            asyncio.run(_serve(settings, load, files, WorkerSpec.from_json(as_worker)))
        elif workers > 1:
            asyncio.run(_supervise(settings, shares))
        else:
            asyncio.run(_serve(settings, load, files, None))
    except (OSError, RuntimeError) as error:
        click.echo(f"extproc: {error}", err=True)
        return 1
    return 0


async def _serve(
    settings: Settings, load: Callable[[], Settings], files: Sequence[Path], place: WorkerSpec | None
) -> None:
    engine_choice.prepare(settings.listen.engine)  # before anything imports gRPC
    from extproc.app.lifecycle import App  # noqa: PLC0415

    if place is not None:
        logs.name_worker(place.number)
    app = App(settings, load=load, files=files, place=place)
    # The audit log's writer and the event loop must not keep the polling thread waiting for long.
    sys.setswitchinterval(_SWITCH_AFTER)
    # What is there by now stays, and need not be looked at again and again. What requests make
    # is freed by reference counts, cycles are rare: collecting less often saved about a tenth of
    # our own time for a warm request.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    await app.run()


async def _supervise(settings: Settings, shares: list[ListenSlice]) -> None:
    # A worker needs neither.
    from extproc.app.listeners import build_admin_transport  # noqa: PLC0415
    from extproc.workers.supervisor import Supervisor  # noqa: PLC0415

    # Workers are started as we were: the same interpreter, program and options.
    command = [sys.executable, *sys.orig_argv[1:]]
    await Supervisor(
        settings=settings,
        shares=shares,
        command=command,
        admin_transport=build_admin_transport(settings),
    ).run()
