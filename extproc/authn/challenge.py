"""What a client is told about getting a token: RFC 6750 section 3 challenges, RFC 9728 metadata."""

import json
from urllib.parse import urlsplit

from extproc.errors import Reason

_WELL_KNOWN = "/.well-known/oauth-protected-resource"


class ProtectedResource:
    """The OAuth protected resource that clients see: the MCP endpoint as they call it."""

    def __init__(self, *, url: str, authorization_servers: list[str]) -> None:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        suffix = "" if parts.path == "/" else parts.path
        self._metadata_url = f"{origin}{_WELL_KNOWN}{suffix}"
        # RFC 9728 3.1 puts the resource's path behind the well-known one; MCP clients try the bare one too.
        self._metadata_paths = frozenset({_WELL_KNOWN, _WELL_KNOWN + suffix})
        self._metadata = json.dumps(
            {
                "resource": url,
                "authorization_servers": authorization_servers,
                "bearer_methods_supported": ["header"],
            }
        ).encode()

    def metadata_for(self, method: str, path: str) -> bytes | None:
        """The RFC 9728 document if that is what is asked for, else None."""
        is_metadata = method in ("GET", "HEAD") and path.partition("?")[0] in self._metadata_paths
        return self._metadata if is_metadata else None

    def challenge(self, reason: Reason) -> str:
        """The ``WWW-Authenticate`` value of a 401.

        RFC 6750 3.1: without credentials in the request there is no error code.
        """
        outcome = reason.outcome
        attributes = [f'resource_metadata="{self._metadata_url}"']
        if outcome.error is not None:
            attributes.append(f'error="{outcome.error}"')
            attributes.append(f'error_description="{outcome.text}"')
        return "Bearer " + ", ".join(attributes)
