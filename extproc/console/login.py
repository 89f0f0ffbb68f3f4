"""The pages of a login by OpenID Connect: to the issuer, and back."""

from collections.abc import Awaitable, Callable

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from extproc.clock import Clock
from extproc.console.access import Access, User
from extproc.console.acts import Acts
from extproc.console.guard import RefusedError, is_local_path
from extproc.console.oidc import Attempt, LoginError, OidcLogin
from extproc.console.signed import Signer

LOGIN_COOKIE_PATH = "/login/callback"
_SECONDS = 600.0  # for a login
_MAX_PATH = 2048

_log = structlog.get_logger(__name__)


class Login:
    """Sends browsers to the issuer, and takes what they come back with.

    The browser keeps the attempt, signed, in a cookie of its own: it comes back from another site, so that
    cookie is SameSite=Lax and lives for minutes. Nothing is kept here for a browser that is not logged in.
    """

    def __init__(self, oidc: OidcLogin, *, acts: Acts, clock: Clock, is_https: bool, cookie: str) -> None:
        self._oidc = oidc
        self._acts = acts
        self._is_https = is_https
        self._cookie = f"{cookie}-login"
        self._signer = Signer(clock=clock, seconds=_SECONDS)

    async def begin(self, request: Request) -> Response:
        """Redirect to the issuer."""
        then = request.query_params.get("then", "/")
        attempt = Attempt.new(then if is_local_path(then) and len(then) <= _MAX_PATH else "/")
        try:
            url = await self._oidc.authorization_url(attempt)
        except LoginError as error:
            raise RefusedError(502, str(error)) from None
        response = RedirectResponse(url, status_code=303)
        response.set_cookie(
            self._cookie,
            self._signer.sign(attempt.to_dict()),
            max_age=int(_SECONDS),
            secure=self._is_https,
            httponly=True,
            samesite="lax",
            path="/",
        )
        return response

    async def finish(
        self, request: Request, access: Access, *, refuses: Callable[[User], Awaitable[bool]]
    ) -> tuple[User, str]:
        """Return the user who has logged in, and the page to go to.

        Raises:
            RefusedError: there is no such login, or the user may not look.
        """
        kept = self._signer.read(request.cookies.get(self._cookie, ""))
        if kept is None:
            raise RefusedError(400, "This login was not begun here, or took too long. Log in again.")
        attempt = Attempt(**kept)
        peer = request.client.host if request.client else "unix"
        try:
            identity = await self._oidc.finish(attempt, dict(request.query_params))
        except LoginError as error:
            _log.warning("console_login_failed", reason=str(error), peer=peer)
            raise RefusedError(403, str(error)) from None
        user = access.of_claims(identity.issuer, identity.claims)
        if user is None:
            subject = identity.subject[:256]
            self._acts.write("login", None, outcome="refused", peer=peer, subject=subject)
            raise RefusedError(403, "Your account may not look here: console.matcher decides who may.")
        if await refuses(user):
            self._acts.write("login", user, outcome="refused", peer=peer)
            raise RefusedError(403, "The gateway refuses your account now, and so does the console.")
        self._acts.write("login", user, outcome="done", peer=peer)
        return user, attempt.then

    def forget(self, response: Response) -> None:
        """Delete the cookie of the attempt."""
        response.delete_cookie(self._cookie, secure=self._is_https, httponly=True, samesite="lax", path="/")
