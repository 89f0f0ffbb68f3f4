"""From a request and credentials to the headers that make it a signed request for a target."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from extproc.clock import Clock
from extproc.signing import sigv4
from extproc.signing.targets import Target
from extproc.values import Credentials, SharedHeaders, SignedHeaders

_SHORT = 256  # characters of clients' values


@dataclass(slots=True)
class _Prepared:
    """What requests of the same second with the same credentials have in common, if the rest fits too."""

    target: Target
    clients: tuple[tuple[str, str], ...]
    sent_hash: str | None
    signing: sigv4.Prepared
    headers: SharedHeaders  # to set, beside the signature


class Signer:
    """Signs requests as of ``clock``. For any thread.

    What it works out for the present second it keeps until the next one, and the derived key for its day;
    both no longer than the credentials: it keeps no secret of a session that has ended.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Replaced as a whole, so that another thread never sees one second's date with another's signatures.
        self._present: tuple[str, WeakKeyDictionary[Credentials, _Prepared]] = ("", WeakKeyDictionary())
        self._keys: WeakKeyDictionary[Credentials, tuple[str, sigv4.Scope, bytes]] = WeakKeyDictionary()

    def sign(
        self,
        *,
        method: str,
        path: str,
        query: str,
        clients: tuple[tuple[str, str], ...],
        target: Target,
        credentials: Credentials,
        payload: str,
    ) -> SignedHeaders:
        """The headers to set. ``path``, ``query`` and the ``payload`` hash are exactly of what goes upstream.

        ``clients``: the client's headers to sign (``signing.headers``), beside host and what we set.
        """
        at = sigv4.timestamp(self._clock())
        sent_hash = payload if target.sends_payload_hash else None
        of_second, known = self._present
        if of_second != at:
            known = WeakKeyDictionary()
            self._present = at, known
        prepared = known.get(credentials)
        if (
            prepared is None
            or prepared.target is not target
            or prepared.clients != clients
            or prepared.sent_hash != sent_hash
        ):
            key = self._signing_key(credentials, at[:8], target.scope)
            prepared = _prepare(at, target, clients, sent_hash, credentials, key=key)
            if sum(len(value) for _, value in clients) <= _SHORT:
                known[credentials] = prepared
        signature = sigv4.sign(
            prepared.signing,
            method=method,
            uri=sigv4.canonical_uri(path, normalize=not target.s3_style, double_encode=not target.s3_style),
            query=sigv4.canonical_query(query),
            payload=payload,
        )
        return SignedHeaders(signature.authorization, prepared.headers)

    def _signing_key(self, credentials: Credentials, date: str, scope: sigv4.Scope) -> bytes:
        """Return the derived key; four HMACs the first time on a day."""
        known = self._keys.get(credentials)
        if known is not None and known[0] == date and known[1] == scope:
            return known[2]
        key = sigv4.signing_key(credentials.secret_access_key, date, scope)
        self._keys[credentials] = date, scope, key
        return key


def _prepare(
    at: str,
    target: Target,
    clients: tuple[tuple[str, str], ...],
    sent_hash: str | None,
    credentials: Credentials,
    *,
    key: bytes,
) -> _Prepared:
    ours = [("x-amz-date", at), ("x-amz-security-token", credentials.session_token)]
    if sent_hash is not None:
        ours.append(("x-amz-content-sha256", sent_hash))
    canonical = sigv4.canonical_headers([("host", target.host), *clients, *ours])
    signing = sigv4.prepare(
        headers=sigv4.CanonicalHeaders.of(canonical),
        at=at,
        scope=target.scope,
        access_key_id=credentials.access_key_id,
        key=key,
    )
    return _Prepared(target, clients, sent_hash, signing, SharedHeaders(tuple(ours)))
