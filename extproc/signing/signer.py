"""From a request and credentials to the headers that make it a signed request for a target."""

from dataclasses import dataclass, field
from typing import Any
from weakref import ReferenceType, ref

from extproc.clock import Clock
from extproc.signing import sigv4
from extproc.signing.targets import Target
from extproc.values import Credentials, SharedHeaders, SignedHeaders

_SHORT = 256  # characters of clients' values
_LONGEST_KEPT = 512  # characters of a path and query, which stay in memory as long as the credentials


@dataclass(slots=True)
class _Prepared:
    """What requests of the same second with the same credentials have in common, if the rest fits too.

    Attributes:
        headers: to set, beside the signature.
        begun: method, path and query of the last request, unless these are long, and the hash of its
            canonical form up to the payload hash. Most requests of a second differ in their payloads only.
            Replaced as a whole.
    """

    target: Target
    clients: tuple[tuple[str, str], ...]
    sent_hash: str | None
    signing: sigv4.Prepared
    headers: SharedHeaders
    begun: tuple[str, str, str, Any] | None = field(default=None, repr=False)


class SigningMemo:
    """What signatures with the same credentials share. Ends with the credentials, whose owner keeps it.

    Attributes:
        present: the present second since the epoch, and what its requests have in common. Replaced as a
            whole, so that no thread sees one second's date with another's signatures.
        key: a day, a credential scope and the key derived for them.
    """

    __slots__ = ("__weakref__", "key", "present")

    def __init__(self) -> None:
        self.present: tuple[int, _Prepared] | None = None
        self.key: tuple[str, sigv4.Scope, bytes] | None = None


class Signer:
    """Signs requests as of ``clock``. For any thread; keeps nothing but weak references to memos in use."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of_second: tuple[int, list[ReferenceType[SigningMemo]]] = (0, [])

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
        memo: SigningMemo | None = None,
    ) -> SignedHeaders:
        """Return the headers to set.

        Args:
            method: the request's.
            path: exactly what goes upstream; ``query`` likewise.
            query: without the question mark.
            clients: the client's headers to sign (``signing.headers``), beside host and what is set here.
            target: where the request goes.
            credentials: to sign with.
            payload: the hash of exactly the body that goes upstream.
            memo: of these very credentials.
        """
        memo = memo or SigningMemo()
        second = int(self._clock())
        sent_hash = payload if target.sends_payload_hash else None
        present = memo.present
        if (
            present is None
            or present[0] != second
            or (prepared := present[1]).target is not target
            or prepared.clients != clients
            or prepared.sent_hash != sent_hash
        ):
            at = sigv4.timestamp(second)
            key = _signing_key(credentials, at[:8], target.scope, memo)
            prepared = _prepare(at, target, clients, sent_hash, credentials, key=key)
            if sum(len(value) for _, value in clients) <= _SHORT:
                self._note(memo, second, prepared)
        begun = prepared.begun
        if begun is None or begun[0] != method or begun[1] != path or begun[2] != query:
            begun = method, path, query, _begin(prepared, method, path, query)
            if len(path) + len(query) <= _LONGEST_KEPT:
                prepared.begun = begun
        return SignedHeaders(sigv4.authorization(prepared.signing, begun[3], payload), prepared.headers)

    def _note(self, memo: SigningMemo, second: int, prepared: _Prepared) -> None:
        """Keep what is prepared for the present second, and nothing of earlier ones: it takes 4 KiB each."""
        of_second, memos = self._of_second
        if of_second != second:
            past, memos = memos, []
            self._of_second = second, memos
            for reference in past:
                other = reference()
                if other is not None:
                    other.present = None  # if another thread has prepared it anew, it is prepared once more
        memo.present = second, prepared
        memos.append(ref(memo))


def _begin(prepared: _Prepared, method: str, path: str, query: str) -> Any:
    encodes = not prepared.target.s3_style
    return sigv4.begin(
        prepared.signing,
        method=method,
        uri=sigv4.canonical_uri(path, normalize=encodes, double_encode=encodes),
        query=sigv4.canonical_query(query),
    )


def _signing_key(credentials: Credentials, date: str, scope: sigv4.Scope, memo: SigningMemo) -> bytes:
    """Return the derived key; four HMACs the first time on a day."""
    known = memo.key
    if known is not None and known[0] == date and known[1] == scope:
        return known[2]
    key = sigv4.signing_key(credentials.secret_access_key, date, scope)
    memo.key = date, scope, key
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
    # Ours are in canonical form as they are, and replace a client's of the same name, as Envoy does.
    canonical = dict(sigv4.canonical_headers([("host", target.host), *clients])) | dict(ours)
    signing = sigv4.prepare(
        headers=sigv4.CanonicalHeaders.of(sorted(canonical.items())),
        at=at,
        scope=target.scope,
        access_key_id=credentials.access_key_id,
        key=key,
    )
    return _Prepared(target, clients, sent_hash, signing, SharedHeaders(tuple(ours)))
