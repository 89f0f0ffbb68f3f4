"""What every request must meet before a page sees it, and what every response carries.

Three independent guards are against requests that other sites make a browser send: the cookie's SameSite,
the origin as the browser states it (``Origin``, ``Sec-Fetch-Site``), and a token in each form.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from extproc.loopback import is_loopback

SAFE = frozenset({"GET", "HEAD"})
"""Methods that change nothing (RFC 9110 9.2.1)."""

_CSP = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    # Only assets/live.js makes HTML of strings, which the server has rendered and escaped.
    "require-trusted-types-for": "'script'",
    "trusted-types": "console",
}

SECURITY_HEADERS = {
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in _CSP.items()),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # With "no-referrer" browsers would send "Origin: null" with our own forms.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}

HSTS = ("strict-transport-security", "max-age=31536000")
"""For HTTPS (RFC 6797)."""


class RefusedError(Exception):
    """The request is refused.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """Checks hosts and origins.

    Args:
        url: the console's URL, ``scheme://host``.
        any_loopback_port: accept loopback hosts under every port, as forwarded by ``ssh -L``. For Unix
            sockets, which no page can make a browser connect to.
    """

    def __init__(self, url: str, *, any_loopback_port: bool = False) -> None:
        self.is_https = url.startswith("https:")
        self._scheme = url.partition(":")[0]
        self._host = urlsplit(url).netloc
        self._any_loopback_port = any_loopback_port

    def check(self, method: str, headers: Headers) -> None:
        """Check the host of a request, and that no other site made the browser send it.

        Raises:
            RefusedError: one of them is not as it must be.
        """
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            # A name that an attacker has rebound to this address (DNS rebinding).
            raise RefusedError(421, "The console is not served under this name.")
        site = headers.get("sec-fetch-site")
        if method in SAFE:
            is_page = (
                headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            )
            if site in ("cross-site", "same-site") and not is_page:
                raise RefusedError(403, "Other sites may link to the console, and not load it.")
            return
        origins = headers.getlist("origin")
        if origins != [f"{self._scheme}://{hosts[0]}"] and (origins or site != "same-origin"):
            raise RefusedError(403, "The request comes from another site.")
        if site not in (None, "same-origin"):
            raise RefusedError(403, "The request comes from another site.")

    def _is_own(self, host: str) -> bool:
        if host == self._host:
            return True
        if not self._any_loopback_port:
            return False
        try:
            parts = urlsplit(f"//{host}")
            _ = parts.port  # urlsplit checks it on access
        except ValueError:
            return False
        return parts.netloc == host and "@" not in host and is_loopback(parts.hostname)


def is_local_path(path: str) -> bool:
    """Return whether a path leads to a page of the console, wherever a browser resolves it."""
    return (
        path.startswith("/")
        and not path.startswith(("//", "/\\", "/login", "/logout"))
        and path.isprintable()
        and "\\" not in path
    )
