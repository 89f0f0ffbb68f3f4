"""From a request and credentials to the headers that make it a signed request for a target."""

from dataclasses import dataclass

from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.signing import sigv4
from extproc.signing.targets import Target
from extproc.values import Credentials, RequestHead, SignedHeaders


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests as of ``clock``."""

    clock: Clock

    def sign(
        self,
        *,
        head: RequestHead,
        path: str,
        query: str,
        target: Target,
        credentials: Credentials,
        body: bytes,
    ) -> SignedHeaders:
        """The headers to set. ``path`` and ``query`` are exactly what goes upstream.

        Signed are host, content-type, the ``x-amz-*`` we set, and what the target names:
        an allow-list, since Envoy and later hops may change anything else.
        """
        at = sigv4.timestamp(self.clock())
        payload = sigv4.UNSIGNED_PAYLOAD if target.payload == "unsigned" else sigv4.payload_hash(body)
        ours = [("x-amz-date", at), ("x-amz-security-token", credentials.session_token)]
        if target.sends_payload_hash:
            ours.append(("x-amz-content-sha256", payload))
        clients = [
            (name, value)
            for name, value in head.headers
            if name == "content-type" or name in target.sign_headers
        ]
        if not all(value.isascii() for _, value in clients):
            raise Denied(Reason.REQUEST_AMBIGUOUS, "a header to be signed is not ASCII")
        signature = sigv4.sign(
            method=head.method,
            uri=sigv4.canonical_uri(path, normalize=not target.s3_style, double_encode=not target.s3_style),
            query=sigv4.canonical_query(query),
            headers=sigv4.canonical_headers([("host", target.host), *ours, *clients]),
            payload=payload,
            at=at,
            scope=target.scope,
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
        )
        return SignedHeaders((("authorization", signature.authorization), *ours))
