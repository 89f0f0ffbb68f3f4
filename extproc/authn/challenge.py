"""What a client is told about getting a token: RFC 6750 section 3 challenges, RFC 9728 metadata."""

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from extproc.errors import Reason
from extproc.values import Reply

_WELL_KNOWN = "/.well-known/oauth-protected-resource"
# The document is public and the same for everybody: any web page may read it, to find out where to log in.
_ANYBODY = (("access-control-allow-origin", "*"),)
_DOCUMENT = (("content-type", "application/json"), ("cache-control", "public, max-age=300"), *_ANYBODY)
_PREFLIGHT = (
    *_ANYBODY,
    ("access-control-allow-methods", "GET, HEAD"),
    ("access-control-allow-headers", "*"),
    ("access-control-max-age", "600"),
)


class ProtectedResource:
    """The OAuth protected resource that clients see: the MCP endpoint as they call it.

    ``scopes``: those a client should ask for, of all issuers together.
    """

    def __init__(
        self,
        *,
        url: str,
        authorization_servers: list[str],
        name: str | None = None,
        scopes: Sequence[str] = (),
    ) -> None:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        suffix = "" if parts.path == "/" else parts.path
        self._metadata_url = f"{origin}{_WELL_KNOWN}{suffix}"
        # RFC 9728 3.1 puts the resource's path behind the well-known one; MCP clients try the bare one too.
        self._metadata_paths = frozenset({_WELL_KNOWN, _WELL_KNOWN + suffix})
        self._scopes = tuple(scopes)
        document: dict[str, object] = {
            "resource": url,
            "authorization_servers": authorization_servers,
            "bearer_methods_supported": ["header"],
        }
        if scopes:
            document["scopes_supported"] = list(scopes)
        if name:
            document["resource_name"] = name
        self._metadata = Reply(200, _DOCUMENT, json.dumps(document).encode(), None)
        self._preflight = Reply(204, _PREFLIGHT, b"", None)

    def metadata_for(self, method: str, path: str) -> Reply | None:
        """The RFC 9728 document, or leave to fetch it, if that is what is asked for; else None.

        The answer to HEAD has the document too: Envoy leaves it out and keeps its length.
        """
        if path.partition("?")[0] not in self._metadata_paths:
            return None
        if method in ("GET", "HEAD"):
            return self._metadata
        return self._preflight if method == "OPTIONS" else None

    def challenge(self, reason: Reason, scopes: Sequence[str] = ()) -> str:
        """The ``WWW-Authenticate`` value of a 401, or of a 403 for want of ``scopes``.

        RFC 6750 3.1: without credentials in the request there is no error code.
        """
        outcome = reason.outcome
        attributes = [f'resource_metadata="{self._metadata_url}"']
        wanted = scopes or self._scopes
        if wanted:
            attributes.append(f'scope="{" ".join(wanted)}"')
        if outcome.error is not None:
            attributes.append(f'error="{outcome.error}"')
            attributes.append(f'error_description="{outcome.text}"')
        return "Bearer " + ", ".join(attributes)
