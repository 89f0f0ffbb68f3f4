"""What a client is told about getting a token: RFC 6750 section 3 challenges, RFC 9728 metadata."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

from extproc.errors import Reason
from extproc.values import ImmediateResponse

_DEFAULT_PORTS = {"http": 80, "https": 443}
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

    A client compares ``resource`` with the address that it was given (RFC 9728 section 3.3), so an endpoint
    with several host names has a document for each. A request's authority chooses between them; it is the
    client's word, and chooses nothing but among what is configured.

    Args:
        url: the endpoint, also for requests to a host that is none of these.
        aliases: the same endpoint under other hosts.
        scopes: those a client should ask for at first, of all issuers together.
        step_up_scopes: those that some requests need besides; ``scopes_supported`` has both.
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
        self._default = _Face.of(url, document)
        self._by_authority = {
            authority: face
            for face in (self._default, *(_Face.of(alias, document) for alias in aliases))
            for authority in face.authorities
        }
        self._preflight = ImmediateResponse(204, _PREFLIGHT, b"", None)

    def metadata_for(self, method: str, path: str, authority: str = "") -> ImmediateResponse | None:
        """The RFC 9728 document, or leave to fetch it, if that is what is asked for; else None.

        The answer to HEAD has the document too: Envoy leaves it out and keeps its length.
        """
        if not path.startswith(_WELL_KNOWN):
            return None
        face = self._face(authority)
        if path.partition("?")[0] not in face.metadata_paths:
            return None
        if method in ("GET", "HEAD"):
            return face.metadata
        return self._preflight if method == "OPTIONS" else None

    def canonical(self, path: str) -> str:
        """Return the path of a request, with the resource's own as it is configured.

        Clients add a slash at its end, or leave one out; to servers, and to rules, that is another path.
        """
        own, mark, query = path.partition("?")
        return self._path + mark + query if own == self._variant and own not in ("", "/") else path

    def challenge(self, reason: Reason, scopes: Sequence[str] = (), *, authority: str = "") -> str:
        """The ``WWW-Authenticate`` value of a 401, or of a 403 for want of ``scopes``.

        RFC 6750 3.1: without credentials in the request there is no error code.
        """
        outcome = reason.outcome
        attributes = [f'resource_metadata="{self._face(authority).metadata_url}"']
        wanted = scopes or self._scopes
        if wanted:
            attributes.append(f'scope="{" ".join(wanted)}"')
        if outcome.error is not None:
            attributes.append(f'error="{outcome.error}"')
            attributes.append(f'error_description="{outcome.text}"')
        return "Bearer " + ", ".join(attributes)

    def _face(self, authority: str) -> "_Face":
        return self._by_authority.get(authority.lower(), self._default)


@dataclass(frozen=True, slots=True)
class _Face:
    """The resource under one of its hosts.

    Attributes:
        authorities: what ``:authority`` says for it, in lower case; a default port may be left out.
        metadata_paths: RFC 9728 3.1 puts the resource's path behind the well-known one; MCP clients try the
            bare one too.
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
