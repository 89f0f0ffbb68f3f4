"""What a page gets: the console's parts, and the request of a user who may look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from extproc.clock import Clock
from extproc.config import Settings
from extproc.console.acts import Acts
from extproc.console.docs import Docs
from extproc.console.follow import Follower
from extproc.console.history import History
from extproc.console.rates import Rates
from extproc.console.server_api import ServerApi
from extproc.console.sessions import BrowserSession
from extproc.console.templating import Templates
from extproc.policy.rules import Policy


@dataclass(slots=True)
class Parts:
    """What all pages share.

    Attributes:
        settings: those of the file, as it is now.
        policy: made of them.
    """

    settings: Settings
    policy: Policy
    api: ServerApi
    history: History
    rates: Rates
    follower: Follower
    acts: Acts
    docs: Docs
    templates: Templates
    clock: Clock


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a user who is logged in.

    Attributes:
        form: the fields of a POST; its CSRF token has been checked.
    """

    parts: Parts
    request: Request
    session: BrowserSession
    form: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def peer(self) -> str:
        """Return the browser's address, for the audit log."""
        client = self.request.client
        return client.host if client else "unix"

    @property
    def wants_fragment(self) -> bool:
        """Return whether a script asks for a part of a page."""
        return self.request.headers.get("x-console-fragment") == "1"

    def query(self, name: str) -> str:
        """Return a parameter of the URL without the spaces around it; an empty string if it is not there."""
        return self.request.query_params.get(name, "").strip()

    def html(self, template: str, **values: Any) -> Response:
        """Return a page or a fragment."""
        return HTMLResponse(self.render(template, **values))

    def render(self, template: str, **values: Any) -> str:
        """Return HTML."""
        return self.parts.templates.render(
            template,
            user=self.session.user,
            csrf_token=self.session.csrf_token,
            path=self.request.scope["path"],
            **values,
        )

    def redirect(self, path: str) -> Response:
        """Return a redirect to another page, after a POST."""
        return RedirectResponse(path, status_code=303)

    def act(self, act: str, *, outcome: str, **details: Any) -> None:
        """Write a line of the audit log; see ``Acts.write``."""
        self.parts.acts.write(act, self.session.user, outcome=outcome, peer=self.peer, **details)


def one_of(value: str, allowed: Sequence[str]) -> str:
    """Return the value if it is allowed, else an empty string."""
    return value if value in allowed else ""
