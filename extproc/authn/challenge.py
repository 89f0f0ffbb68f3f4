"""Challenges (RFC 6750 section 3) and metadata (RFC 9728) that lead clients to a token."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

from extproc.errors import Reason
from extproc.values import ImmediateResponse

_DEFAULT_PORTS = {"http": 80, "https": 443}
_WELL_KNOWN = "/.well-known/oauth-protected-resource"
# The document is public and the same for all clients. Any web page may read it to find out where to log in.
_ANY_ORIGIN = (("access-control-allow-origin", "*"),)
_DOCUMENT = (("content-type", "application/json"), ("cache-control", "public, max-age=300"), *_ANY_ORIGIN)
_PREFLIGHT = (
    *_ANY_ORIGIN,
    ("access-control-allow-methods", "GET, HEAD"),
    ("access-control-allow-headers", "*"),
    ("access-control-max-age", "600"),
)


class ProtectedResource:
    """The OAuth protected resource: the MCP endpoint under the URLs that clients use.

    A client compares ``resource`` with the URL it was given (RFC 9728 section 3.3), so an endpoint with
    several host names has a document for each. The request's authority selects one. A client can write any
    authority, but only configured hosts are known, and all documents have the same issuers and scopes.

    Args:
        url: the endpoint; also used for requests to unknown hosts.
        aliases: URLs of the same endpoint under other hosts.
        scopes: scopes that a client requests first, of all issuers together.
        step_up_scopes: further scopes that some requests need; ``scopes_supported`` lists both.
    """

    def __init__(
        self,
        *,
        url: str,
        authorization_servers: list[str],
        aliases: Sequence[str] = (),
        name: str | None = None,
        scopes: Sequence[str] = (),
        step_up_scopes: Sequence[str] = (),
    ) -> None:
        document: dict[str, object] = {
            "authorization_servers": authorization_servers,
            "bearer_methods_supported": ["header"],
        }
        supported = list(dict.fromkeys((*scopes, *step_up_scopes)))
        if supported:
            document["scopes_supported"] = supported
        if name:
            document["resource_name"] = name
        self._scopes = tuple(scopes)
        self._path = urlsplit(url).path
        self._variant = self._path[:-1] if self._path.endswith("/") else f"{self._path}/"
        self._default = _Endpoint.of(url, document)
        self._by_authority = {
            authority: endpoint
            for endpoint in (self._default, *(_Endpoint.of(alias, document) for alias in aliases))
            for authority in endpoint.authorities
        }
        self._preflight = ImmediateResponse(204, _PREFLIGHT, b"", None)

    @property
    def metadata_url(self) -> str:
        """The URL of the RFC 9728 document of ``url``."""
        return self._default.metadata_url

    def metadata_for(self, method: str, path: str, authority: str = "") -> ImmediateResponse | None:
        """Return the RFC 9728 document, the response to its CORS preflight, or None for another path.

        The response to HEAD contains the document too: Envoy removes it and keeps its length.
        """
        if not path.startswith(_WELL_KNOWN):
            return None
        endpoint = self._endpoint(authority)
        if path.partition("?")[0] not in endpoint.metadata_paths:
            return None
        if method in ("GET", "HEAD"):
            return endpoint.metadata
        return self._preflight if method == "OPTIONS" else None

    def canonical(self, path: str) -> str:
        """Return the path of a request; that of the resource is returned as configured.

        Clients add a slash at its end, or omit one. To servers and to rules that would be another path.
        """
        own, mark, query = path.partition("?")
        return self._path + mark + query if own == self._variant and own not in ("", "/") else path

    def challenge(self, reason: Reason, scopes: Sequence[str] = (), *, authority: str = "") -> str:
        """Return the ``WWW-Authenticate`` value of a 401, or of a 403 for missing ``scopes``.

        RFC 6750 3.1: there is no error code if the request had no credentials.
        """
        outcome = reason.outcome
        attributes = [f'resource_metadata="{self._endpoint(authority).metadata_url}"']
        wanted = scopes or self._scopes
        if wanted:
            attributes.append(f'scope="{" ".join(wanted)}"')
        if outcome.error is not None:
            attributes.append(f'error="{outcome.error}"')
            attributes.append(f'error_description="{outcome.text}"')
        return "Bearer " + ", ".join(attributes)

    def _endpoint(self, authority: str) -> "_Endpoint":
        return self._by_authority.get(authority.lower(), self._default)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """The resource under one of its hosts.

    Attributes:
        authorities: values of ``:authority``, in lower case; with and without a default port.
        metadata_paths: RFC 9728 3.1 appends the resource's path to the well-known one; MCP clients also
            try the well-known path alone.
    """

    authorities: frozenset[str]
    metadata_url: str
    metadata_paths: frozenset[str]
    metadata: ImmediateResponse

    @classmethod
    def of(cls, url: str, document: Mapping[str, object]) -> Self:
        parts = urlsplit(url)
        suffix = "" if parts.path == "/" else parts.path
        body = json.dumps({"resource": url, **document}).encode()
        return cls(
            authorities=_authorities(parts),
            metadata_url=f"{parts.scheme}://{parts.netloc}{_WELL_KNOWN}{suffix}",
            metadata_paths=frozenset({_WELL_KNOWN, _WELL_KNOWN + suffix}),
            metadata=ImmediateResponse(200, _DOCUMENT, body, None),
        )


def _authorities(parts: SplitResult) -> frozenset[str]:
    netloc = parts.netloc.lower()
    default = _DEFAULT_PORTS[parts.scheme]
    if parts.port is None:
        return frozenset({netloc, f"{netloc}:{default}"})
    return frozenset({netloc, netloc.rpartition(":")[0]} if parts.port == default else {netloc})
