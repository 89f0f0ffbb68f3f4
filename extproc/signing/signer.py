"""From a request and credentials to the headers that make it a signed request for a target."""

from dataclasses import dataclass, field
from functools import lru_cache

from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.signing import sigv4
from extproc.signing.keys import SigningKeys
from extproc.signing.targets import Target
from extproc.values import Credentials, RequestHead, SignedHeaders

_SHORT = 256  # characters of clients' values


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests as of ``clock``."""

    clock: Clock
    _keys: SigningKeys = field(default_factory=SigningKeys, repr=False)

    def sign(
        self,
        *,
        head: RequestHead,
        path: str,
        query: str,
        target: Target,
        credentials: Credentials,
        payload: str,
    ) -> SignedHeaders:
        """The headers to set. ``path``, ``query`` and the ``payload`` hash are exactly of what goes upstream.

        Signed are host, content-type, the ``x-amz-*`` we set, and what the target names:
        an allow-list, since Envoy and later hops may change anything else.

        Raises:
            Denied: ``REQUEST_AMBIGUOUS`` for a signed header that is not ASCII, or two content types.
        """
        at = sigv4.timestamp(self.clock())
        ours = [("x-amz-date", at), ("x-amz-security-token", credentials.session_token)]
        values = [at, sigv4.folded(credentials.session_token)]
        if target.sends_payload_hash:
            ours.append(("x-amz-content-sha256", payload))
            values.insert(0, payload)
        template = _headers(
            target.host,
            _signed_of_the_clients(head, target.sign_headers),
            with_payload_hash=target.sends_payload_hash,
        )
        signature = sigv4.sign(
            method=head.method,
            uri=sigv4.canonical_uri(path, normalize=not target.s3_style, double_encode=not target.s3_style),
            query=sigv4.canonical_query(query),
            headers=sigv4.CanonicalHeaders(template.lines % tuple(values), template.names),
            payload=payload,
            at=at,
            scope=target.scope,
            access_key_id=credentials.access_key_id,
            key=self._keys.key(credentials, at[:8], target.scope),
        )
        return SignedHeaders((("authorization", signature.authorization), *ours))


def _headers(
    host: str, clients: tuple[tuple[str, str], ...], *, with_payload_hash: bool
) -> sigv4.CanonicalHeaders:
    """The canonical headers with a ``%s`` for each value that differs from request to request.

    In this order: the payload's hash, if it is sent; the date; the session token. Most
    requests have the same template, which is remembered: it holds no secret.
    """
    if sum(len(value) for _, value in clients) > _SHORT:
        return _template(host, clients, with_payload_hash)
    return _remembered_template(host, clients, with_payload_hash)


def _template(
    host: str,
    clients: tuple[tuple[str, str], ...],
    with_payload_hash: bool,  # noqa: FBT001 - as lru_cache likes it best
) -> sigv4.CanonicalHeaders:
    names = ["x-amz-date", "x-amz-security-token"] + ["x-amz-content-sha256"] * with_payload_hash
    escaped = [(name, value.replace("%", "%%")) for name, value in (("host", host), *clients)]
    return sigv4.CanonicalHeaders.of(sigv4.canonical_headers([*escaped, *((name, "%s") for name in names)]))


_remembered_template = lru_cache(maxsize=256)(_template)


def _signed_of_the_clients(head: RequestHead, more: frozenset[str]) -> tuple[tuple[str, str], ...]:
    chosen = tuple([pair for pair in head.headers if pair[0] == "content-type" or pair[0] in more])
    types = 0
    for name, value in chosen:
        types += name == "content-type"
        if not value.isascii():
            raise Denied(Reason.REQUEST_AMBIGUOUS, "a header to be signed is not ASCII")
    if types > 1:
        # Joined by a comma in the signature; upstream, some servers read the first and some the last.
        raise Denied(Reason.REQUEST_AMBIGUOUS, "there are two content-type headers")
    return chosen
