"""From a request and credentials to the headers that make it a signed request for a target."""

from dataclasses import dataclass, field

from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.signing import sigv4
from extproc.signing.keys import SigningKeys
from extproc.signing.targets import Target
from extproc.values import Credentials, RequestHead, SignedHeaders


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
        if target.sends_payload_hash:
            ours.append(("x-amz-content-sha256", payload))
        clients = _signed_of_the_clients(head, target.sign_headers)
        signature = sigv4.sign(
            method=head.method,
            uri=sigv4.canonical_uri(path, normalize=not target.s3_style, double_encode=not target.s3_style),
            query=sigv4.canonical_query(query),
            headers=sigv4.canonical_headers([("host", target.host), *ours, *clients]),
            payload=payload,
            at=at,
            scope=target.scope,
            access_key_id=credentials.access_key_id,
            key=self._keys.key(credentials, at[:8], target.scope),
        )
        return SignedHeaders((("authorization", signature.authorization), *ours))


def _signed_of_the_clients(head: RequestHead, more: frozenset[str]) -> list[tuple[str, str]]:
    chosen = [pair for pair in head.headers if pair[0] == "content-type" or pair[0] in more]
    types = 0
    for name, value in chosen:
        types += name == "content-type"
        if not value.isascii():
            raise Denied(Reason.REQUEST_AMBIGUOUS, "a header to be signed is not ASCII")
    if types > 1:
        # Joined by a comma in the signature; upstream, some servers read the first and some the last.
        raise Denied(Reason.REQUEST_AMBIGUOUS, "there are two content-type headers")
    return chosen
