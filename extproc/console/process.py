"""The console's process: builds its parts, serves until a signal, and ends when its settings change."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from extproc.admin.client import AdminClient
from extproc.app.changes import same
from extproc.app.factories import build_policy
from extproc.app.watch import changes
from extproc.clock import Clock, system_clock
from extproc.config import ConfigError, Settings, stays_local
from extproc.console.access import Access
from extproc.console.acts import Acts, build_sink
from extproc.console.docs import Docs, docs_folder
from extproc.console.follow import Follower
from extproc.console.guard import Guard
from extproc.console.history import History
from extproc.console.listener import Listener
from extproc.console.login import LOGIN_COOKIE_PATH, Login
from extproc.console.oidc import OidcLogin
from extproc.console.rates import Rates
from extproc.console.server_api import ServerApi
from extproc.console.sessions import BrowserSessions
from extproc.console.templating import Templates
from extproc.console.visit import Parts
from extproc.console.web import Web
from extproc.grpc_server.channel import connect
from extproc.grpc_server.probe import own_tls

_NICE = 5  # the server's requests come first
_MINUTE = 60.0

_log = structlog.get_logger(__name__)


def console_url(settings: Settings) -> str:
    """Return the URL under which browsers call the console."""
    if settings.console.url is not None:
        return settings.console.url
    address = settings.listen.console or ""
    if address.startswith("unix:"):
        return "http://localhost"
    return f"{'https' if settings.console.tls else 'http'}://{address}"


def build_web(settings: Settings, client: AdminClient, *, clock: Clock = system_clock) -> Web:
    """Return the application. Call it in the event loop that serves it."""
    url = console_url(settings)
    is_unix = (settings.listen.console or "").startswith("unix:")
    is_https = url.startswith("https:")
    # Cookies do not distinguish ports, and two consoles may be on one machine.
    name = "__Host-extproc-console" if is_https else f"extproc-console-{urlsplit(url).port or 80}"
    api, history, rates = ServerApi(client), History(), Rates()
    acts = Acts(build_sink(settings), clock=clock)
    parts = Parts(
        settings=settings,
        policy=build_policy(settings),
        api=api,
        history=history,
        rates=rates,
        follower=Follower(api, history=history, rates=rates, clock=clock),
        acts=acts,
        docs=Docs(docs_folder()),
        templates=Templates(version=version("extproc-sigv4")),
        clock=clock,
    )
    login = None
    if settings.console.oidc is not None and settings.console.socket_user is None:
        oidc = OidcLogin(settings, redirect_uri=f"{url}{LOGIN_COOKIE_PATH}", clock=clock)
        login = Login(oidc, acts=acts, clock=clock, is_https=is_https, cookie=name)
    return Web(
        parts,
        guard=Guard(url, any_loopback_port=is_unix and not is_https),
        access=Access(settings.console),
        sessions=BrowserSessions(
            clock=clock,
            lifetime=settings.console.session_minutes * _MINUTE,
            idle=settings.console.idle_minutes * _MINUTE,
        ),
        login=login,
        socket_user=settings.console.socket_user if is_unix else None,
        cookie=name,
    )


def connected(settings: Settings) -> AdminClient:
    """Return a client of ``listen.admin_grpc``, which shows the server's own certificate beyond this machine.

    Raises:
        CertificateError: the files of ``listen.tls`` cannot be used.
    """
    address = settings.listen.admin_grpc or ""
    return AdminClient(connect(address, None if stays_local(address) else own_tls(settings.listen.tls)))


async def run(
    settings: Settings,
    *,
    load: Callable[[], Settings],
    files: Sequence[Path],
    lifeline: int | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until the file has other settings of the console.

    ``lifeline``: a pipe; the process ends when the server closes the other end, however it ends.

    Raises:
        OSError: cannot listen, or the audit log cannot be opened.
        CertificateError: the files of ``console.tls`` or ``listen.tls`` cannot be used.
    """
    os.nice(_NICE)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # the file is watched
    if lifeline is not None:
        loop.add_reader(lifeline, stopped.set)
    with connected(settings) as client:
        web = build_web(settings, client)
        listener = Listener(settings, web, on_new_authority=stopped.set)
        async with listener.serving():
            _log.info("console_listening", address=settings.listen.console, url=console_url(settings))
            work = [
                asyncio.create_task(each)
                for each in (
                    web.parts.follower.follow_decisions(),
                    web.parts.follower.follow_rates(),
                    web.deny_list.follow(),
                    _follow_file(web.parts, settings, load, files, stopped),
                )
            ]
            await stopped.wait()
            for task in work:
                task.cancel()
        web.parts.api.close()


async def _follow_file(
    parts: Parts,
    at_start: Settings,
    load: Callable[[], Settings],
    files: Sequence[Path],
    stopped: asyncio.Event,
) -> None:
    """Show the settings of a changed file. End the process if they are about the console itself.

    A user whom the rules no longer let look must not go on looking: a new process knows no sessions.
    """
    async for _ in changes(lambda: files):
        try:
            settings = await asyncio.to_thread(load)
            policy = await asyncio.to_thread(build_policy, settings)
        except ConfigError as error:
            _log.warning("console_keeps_settings", problems=len(error.problems))
            continue
        if not (
            same(settings.console, at_start.console)
            and same(settings.listen, at_start.listen)
            and same(settings.audit, at_start.audit)
            and [issuer.model_dump_json() for issuer in settings.issuers]
            == [issuer.model_dump_json() for issuer in at_start.issuers]
        ):
            _log.warning("console_settings_changed")
            stopped.set()
            return
        parts.settings, parts.policy = settings, policy
