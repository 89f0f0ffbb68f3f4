"""The console as an ASGI application: guards every request, finds its user, and calls its page."""

import hashlib
import http
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, quote

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import compile_path
from starlette.types import Message, Receive, Scope, Send

from extproc.console.access import CERTIFICATE, Access, User, of_socket
from extproc.console.acts import NotLoggedError
from extproc.console.deny_list import DenyList
from extproc.console.guard import HSTS, SAFE, SECURITY_HEADERS, Guard, RefusedError, is_local_path
from extproc.console.login import LOGIN_COOKIE_PATH, Login
from extproc.console.pages import decisions, docs, envoy, overview, policy, sessions, tryit
from extproc.console.sessions import BrowserSession, BrowserSessions
from extproc.console.visit import Parts, Visit

_MAX_FORM = 1024 * 1024  # bytes: an Envoy configuration to check
_MAX_FIELDS = 50
_REFUSED = "The gateway refuses your account now, and so does the console."
_ASSET_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

Page = Callable[[Visit], Awaitable[Response]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """One page: its path with converters as in starlette, and whether it is an act.

    Attributes:
        by_itself: whether pages ask for it without their user doing anything.
    """

    method: str
    path: str
    page: Page
    acts: bool = False
    by_itself: bool = False


ROUTES = (
    Route("GET", "/", overview.overview),
    Route("GET", "/events/overview", overview.events, by_itself=True),
    Route("GET", "/decisions", decisions.decisions),
    Route("GET", "/decisions/{decision}", decisions.decision),
    Route("GET", "/events/decisions", decisions.events, by_itself=True),
    Route("GET", "/sessions", sessions.sessions),
    Route("GET", "/sessions/{session}", sessions.session),
    Route("GET", "/events/sessions", sessions.events, by_itself=True),
    Route("GET", "/revoke", sessions.confirm, acts=True),
    Route("POST", "/revoke", sessions.revoke, acts=True),
    Route("POST", "/lift", sessions.lift, acts=True),
    Route("GET", "/try", tryit.form),
    Route("POST", "/try", tryit.explain),
    Route("GET", "/policy", policy.policy),
    Route("GET", "/envoy", envoy.envoy),
    Route("POST", "/envoy", envoy.check),
    Route("GET", "/docs", docs.index),
    Route("GET", "/docs/{name:path}", docs.page),
)
_COMPILED = [(route, *compile_path(route.path)) for route in ROUTES]


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the style sheet, the scripts or the icon."""

    content: bytes = field(repr=False)
    media_type: str
    etag: str


class Web:
    """The application.

    Args:
        login: by OpenID Connect; None without.
        socket_user: who is at a Unix socket; None for other listeners.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        guard: Guard,
        access: Access,
        sessions: BrowserSessions,
        login: Login | None,
        socket_user: str | None = None,
        cookie: str,
    ) -> None:
        self.parts = parts
        self._guard = guard
        self._access = access
        self._sessions = sessions
        self.deny_list = DenyList(parts.api, sessions)
        self._login = login
        self._socket_user = socket_user
        self._cookie = cookie
        self._assets = _assets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # no websockets: uvicorn is told so too
            return
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except RefusedError as error:
            response = self._error(error.status, str(error))
        except NotLoggedError as error:
            response = self._error(503, str(error))
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - log the type only: the message may quote what was pasted
            _log.error("console_request_failed", path=_path(request)[:100], error=type(error).__name__)
            response = self._error(500, "The console has failed. Its log says at what.")

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers(message["headers"])]
            await send(message)

        await response(scope, receive, send_guarded)

    def _headers(self, present: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        names = {name for name, _ in present}
        headers = {**SECURITY_HEADERS, **dict([HSTS] if self._guard.is_https else [])}
        return [
            (name.encode(), value.encode()) for name, value in headers.items() if name.encode() not in names
        ]

    async def _respond(self, request: Request) -> Response:
        self._guard.check(request.method, request.headers)
        path = _path(request)
        if path.startswith("/assets/"):
            return self._asset(request, path.removeprefix("/assets/"))
        if path.startswith("/login"):
            return await self._log_in(request)
        return await self._for_user(request)

    async def _for_user(self, request: Request) -> Response:
        cookie, session = self._present(request)
        if session is None:
            if _comes_from_elsewhere(request):
                # SameSite=Strict: with a link from another site the browser sends no cookie. A page of our
                # own that leads to the same place does.
                return self._plain("again.html", here=_here(request))
            user = self._without_login(request)
            if user is None or request.method not in SAFE:
                return self._to_login(request)
            cookie, session = self._sessions.begin(user)
            response = await self._page(request, session)
            self._set_cookie(response, cookie)
            return response
        if _path(request) == "/logout":
            return await self._log_out(request, cookie, session)
        return await self._page(request, session)

    async def _page(self, request: Request, session: BrowserSession) -> Response:
        route, parameters = _found(request)
        if route.acts and not session.user.may_act:
            raise RefusedError(403, "You may look, and not act: console.act_matcher decides who may.")
        request.scope["path_params"] = parameters
        form: Mapping[str, str] = {}
        if route.method == "POST":
            form = await _form(request, session)
        if route.acts and await self.deny_list.refuses(session.user):
            raise RefusedError(403, _REFUSED)
        return await route.page(Visit(self.parts, request, session, form))

    def _present(self, request: Request) -> tuple[str | None, BrowserSession | None]:
        """Return the session of the request's cookie, as long as its certificate still is the same user's."""
        cookie = request.cookies.get(self._cookie)
        by_itself = _path(request).startswith("/events/")
        session = self._sessions.find(cookie, used=not by_itself)
        if (
            session is not None
            and session.user.source == CERTIFICATE
            and self._without_login(request) != session.user
        ):
            self._sessions.end(cookie)
            return cookie, None
        return cookie, session

    def _without_login(self, request: Request) -> User | None:
        """Return the user of the connection itself: by its certificate, or at the Unix socket."""
        if self._socket_user is not None:
            return of_socket(self._socket_user)
        peer = request.scope.get("state", {}).get("peer_names")
        return self._access.of_certificate(peer) if peer else None

    def _to_login(self, request: Request) -> Response:
        """Answer a request without a session."""
        headers = request.headers
        if request.method not in SAFE or headers.get("sec-fetch-mode", "navigate") != "navigate":
            raise RefusedError(401, "Log in first: the session has ended.")
        if self._login is None:
            raise RefusedError(403, "This certificate is not on the list of those that may look.")
        return RedirectResponse(f"/login?then={quote(_here(request), safe='')}", status_code=303)

    async def _log_in(self, request: Request) -> Response:
        if self._login is None or request.method != "GET":
            raise RefusedError(404, "There is no such page.")
        if _path(request) == "/login":
            return await self._login.begin(request)
        if _path(request) != LOGIN_COOKIE_PATH:
            raise RefusedError(404, "There is no such page.")
        user, then = await self._login.finish(request, self._access, refuses=self.deny_list.refuses)
        # A new cookie for each login, whatever the browser had (session fixation).
        self._sessions.end(request.cookies.get(self._cookie))
        cookie, _ = self._sessions.begin(user)
        # A page and not a redirect: the browser comes from another site, and would not send the new cookie.
        response = self._plain("again.html", here=then)
        self._set_cookie(response, cookie)
        self._login.forget(response)
        return response

    async def _log_out(self, request: Request, cookie: str | None, session: BrowserSession) -> Response:
        if request.method != "POST":
            raise RefusedError(405, "Log out with the button.")
        await _form(request, session)
        self._sessions.end(cookie)
        peer = request.client.host if request.client else "unix"
        self.parts.acts.write("logout", session.user, outcome="done", peer=peer)
        response = self._plain("bye.html")
        response.delete_cookie(
            self._cookie, secure=self._guard.is_https, httponly=True, samesite="strict", path="/"
        )
        return response

    def _set_cookie(self, response: Response, cookie: str) -> None:
        response.set_cookie(
            self._cookie, cookie, secure=self._guard.is_https, httponly=True, samesite="strict", path="/"
        )

    def _asset(self, request: Request, name: str) -> Response:
        asset = self._assets.get(name)
        if asset is None or request.method not in SAFE:
            raise RefusedError(404, "There is no such file.")
        headers = {"etag": asset.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=304, headers=headers)
        return Response(asset.content, media_type=asset.media_type, headers=headers)

    def _error(self, status: int, message: str) -> Response:
        title = http.HTTPStatus(status).phrase
        return self._plain("error.html", status=status, title=title, message=message)

    def _plain(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return a page without a user."""
        html = self.parts.templates.render(template, status=status, **values)
        return HTMLResponse(html, status_code=status)


def _path(request: Request) -> str:
    """Return the path as it came. That of ``request.url`` has no line breaks, and ends at a decoded "?"."""
    path: str = request.scope["path"]
    return path


def _here(request: Request) -> str:
    """Return path and query of a request, or the overview's if a browser could take them for another site."""
    query = request.scope["query_string"].decode("latin-1")
    here = quote(_path(request)) + (f"?{query}" if query else "")
    return here if is_local_path(here) else "/"


def _comes_from_elsewhere(request: Request) -> bool:
    return request.method in SAFE and request.headers.get("sec-fetch-site") == "cross-site"


def _found(request: Request) -> tuple[Route, dict[str, Any]]:
    method = "GET" if request.method == "HEAD" else request.method
    other_method = False
    for route, pattern, _, convertors in _COMPILED:
        if match := pattern.match(_path(request)):
            if route.method == method:
                return route, {
                    name: convertors[name].convert(text) for name, text in match.groupdict().items()
                }
            other_method = True
    raise (
        RefusedError(405, "This page takes no such request.")
        if other_method
        else RefusedError(404, "There is no such page.")
    )


async def _form(request: Request, session: BrowserSession) -> dict[str, str]:
    """Return the fields of a form that a page of this session has sent.

    Raises:
        RefusedError: it is none, too large, or without the session's CSRF token.
    """
    if (
        request.headers.get("content-type", "").partition(";")[0].strip()
        != "application/x-www-form-urlencoded"
    ):
        raise RefusedError(415, "A form is expected.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM:
            raise RefusedError(413, "The form is too large.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise RefusedError(400, "The form cannot be read.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise RefusedError(400, "A field is there twice.")
    if not session.has_csrf_token(form.pop("csrf_token", "")):
        raise RefusedError(403, "The form is of another session. Load the page again.")
    return form


def _assets() -> dict[str, Asset]:
    """Read all assets: only what was there at the start is ever served, by its exact name."""
    found = {}
    for file in resources.files("extproc.console").joinpath("assets").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in _ASSET_TYPES:
            content = file.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[file.name] = Asset(content, _ASSET_TYPES[kind], etag)
    return found
