"""``extproc serve``: runs one process, or a supervisor and its workers."""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import click

from extproc.commands import lean_start
from extproc.commands.options import or_exit, supplement_arguments
from extproc.config import Settings
from extproc.grpc_server import engine_choice
from extproc.telemetry import logs
from extproc.workers import side_process
from extproc.workers.processes import NewProcesses, name_process
from extproc.workers.spec import ListenSlice, WorkerSpec, split

_SWITCH_INTERVAL = 0.0001  # seconds after which a thread that computes lets another one run


def run(
    settings: Settings,
    *,
    load: Callable[[], Settings],
    files: Sequence[Path],
    workers: int,
    as_worker: str | None,
    console: Sequence[str],
) -> int:
    """Serve until SIGTERM; return the exit status.

    ``load`` reads the settings again, from ``files``. ``as_worker`` is the ``WorkerSpec`` as JSON, if a
    supervisor starts this process. ``console`` is the command line of the web console.
    """
    try:
        slices = split(settings.listen.grpc_addresses, workers)
    except ValueError as error:
        click.echo(f"listen.grpc: {error}", err=True)
        return 2
    problems = _file_problems(settings)
    if problems:
        click.echo("\n".join(problems), err=True)
        return 2
    try:
        if as_worker is not None:
            asyncio.run(_serve(settings, load, files, WorkerSpec.from_json(as_worker)))
        elif workers > 1:
            _run_workers(settings, load, files, slices, console)
        else:
            asyncio.run(_with_console(settings, console, _serve(settings, load, files, None)))
    except (OSError, RuntimeError) as error:
        click.echo(f"extproc: {error}", err=True)
        return 1
    return 0


def _file_problems(settings: Settings) -> list[str]:
    """Return what is wrong with the files of token exchanges, before a server or its workers need them."""
    if not any(issuer.token_exchange for issuer in settings.issuers):
        return []
    from extproc.app.token_exchanges import file_problems, missing_folders  # noqa: PLC0415

    return [*file_problems(settings), *missing_folders(settings)]


def console_command(config_path: Path, log_level: str) -> list[str]:
    """Return the command line of the web console for a configuration."""
    return [
        *(sys.executable, "-m", "extproc", "console", "--config", str(config_path)),
        *("--log-level", log_level, *supplement_arguments()),
    ]


async def _with_console(settings: Settings, command: Sequence[str], serving: Awaitable[None]) -> None:
    """Serve, with the web console beside it if ``listen.console`` is set."""
    async with side_process.running("console", command if settings.listen.console else None):
        await serving


async def _serve(
    settings: Settings, load: Callable[[], Settings], files: Sequence[Path], worker: WorkerSpec | None
) -> None:
    engine_choice.prepare(settings.listen.engine)  # before anything imports gRPC
    from extproc.app.lifecycle import App  # noqa: PLC0415

    if worker is not None:
        logs.name_worker(worker.number)
        name_process(f"extproc-w{worker.number}")
    app = App(settings, load=load, files=files, worker=worker)
    tune_interpreter()
    await app.run()


def tune_interpreter() -> None:
    """Set the interpreter up for a server, when all that lasts has been made."""
    # The audit log's writer and the event loop must not keep the polling thread waiting for long.
    sys.setswitchinterval(_SWITCH_INTERVAL)
    # The objects that exist now live as long as the process, so collections skip them. (To look for cycles
    # among all of them first takes a tenth of a second, and finds none.) Objects of requests are freed by
    # reference counts, and cycles are rare: collecting less often saved about a tenth of our own time for
    # a warm request.
    gc.collect(0)
    gc.freeze()
    lean_start.collect_rarely()


def _run_workers(
    settings: Settings,
    load: Callable[[], Settings],
    files: Sequence[Path],
    slices: list[ListenSlice],
    console: Sequence[str],
) -> None:
    """Supervise workers until SIGTERM; in a worker that was forked, serve."""
    engine_choice.prepare(settings.listen.engine)  # before anything imports gRPC
    # What workers need is imported before they are forked, so that they share it. None of it uses gRPC yet.
    from extproc.app import admin_service, lifecycle, listeners, snapshot  # noqa: F401, PLC0415
    from extproc.workers import fork_server  # noqa: PLC0415
    from extproc.workers.supervisor import Supervisor  # noqa: PLC0415

    # A new process gets the command line of this one: the same interpreter, program and options.
    new_processes = NewProcesses([sys.executable, *sys.orig_argv[1:]])
    snapshot.rehearse(settings)
    begun = fork_server.begin(otherwise=new_processes)
    if isinstance(begun, WorkerSpec):
        asyncio.run(_serve(or_exit(load), load, files, begun))
        return

    async def supervise() -> None:
        transport = listeners.build_admin_transport(settings)
        await Supervisor(settings=settings, slices=slices, starter=begun, admin_transport=transport).run()

    try:
        asyncio.run(_with_console(settings, console, supervise()))
    finally:
        begun.close()
