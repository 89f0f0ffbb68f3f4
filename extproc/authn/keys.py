"""Verification keys: what a JSON Web Key Set may bring in, and the key set of one issuer over time.

A lookup of a known key never waits. The network is asked in the background, on a
schedule, and for an unknown ``kid`` at most once per cooldown, whether the last fetch
succeeded or not. A document without a usable key never replaces one that had some.
"""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import jwt
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from extproc import strictjson
from extproc.authn.own_thread import in_own_thread
from extproc.authn.rsa_weakness import weakness
from extproc.clock import Clock
from extproc.errors import Denied, Reason

MAX_KID_LENGTH = 512
MAX_KEYS = 200
MAX_VALUES = 10_000  # members and elements of a whole document
_MAX_NUMBER = 1400  # characters of a number in base64url: one of ``rsa_weakness.MAX_BITS``, and some zeros
RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512"})
EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}  # RFC 7518 3.4
SUPPORTED_ALGORITHMS = RSA_ALGORITHMS | frozenset(EC_ALGORITHMS.values())
"""What STS accepts of a web identity token; never ``none``, never HMAC."""

_NUMBERS = ("n", "e", "x", "y")  # RFC 7518 6.2.1, 6.3.1
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})  # RFC 7518 6.2.2, 6.3.2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key with the algorithms it may verify. ``thumbprint``: SHA-256 of the key itself."""

    kid: str | None
    algorithms: frozenset[str]
    public_key: RSAPublicKey | EllipticCurvePublicKey = field(repr=False)
    thumbprint: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The admitted keys of one document, and why others were left out."""

    keys: tuple[VerificationKey, ...]
    refused: tuple[str, ...]  # one "kid: why" each

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key for a token header; without a ``kid`` only if just one key fits the algorithm."""
        fitting = [
            key for key in self.keys if algorithm in key.algorithms and (kid is None or key.kid == kid)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def has_kid(self, kid: str | None) -> bool:
        """Whether a key of this name exists, for whatever algorithm."""
        return kid is None or any(key.kid == kid for key in self.keys)

    def contains(self, thumbprint: bytes) -> bool:
        """Whether this very key is still published."""
        return any(key.thumbprint == thumbprint for key in self.keys)


class KeyDocumentError(Exception):
    """A key document could not be had or used; the message is for operators."""


def parse_key_set(document: bytes) -> KeySet:
    """Admit the usable signature keys of a JWK Set (RFC 7517 5).

    Refused: symmetric and private keys, weak and oversized RSA keys (see ``rsa_weakness``), unknown
    types and curves, keys for encryption, and every key whose ``kid`` is used twice, since either
    could be meant. A key without a ``kid`` serves only tokens without one. Takes a tenth of a
    second for a large document: not for the event loop.

    Raises:
        KeyDocumentError: not a JWK Set, or no usable key in it.
    """
    try:
        entries = strictjson.loads_object(document, max_values=MAX_VALUES).get("keys")
    except strictjson.AmbiguousJSONError as error:
        raise KeyDocumentError(f"JWK Set: {error}") from None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise KeyDocumentError(f"JWK Set: 'keys' must be a list of at most {MAX_KEYS}")
    kid_count = Counter(entry.get("kid") for entry in entries if isinstance(entry, dict) and _kid_ok(entry))
    admitted: list[VerificationKey] = []
    refused: list[str] = []
    for position, entry in enumerate(entries):
        try:
            key = _admit(entry)
            if key.kid is not None and kid_count[key.kid] > 1:
                raise KeyDocumentError("kid is used twice")  # noqa: TRY301 - one place collects refusals
            admitted.append(key)
        except KeyDocumentError as error:
            refused.append(f"keys[{position}]: {error}")
    if not admitted:
        raise KeyDocumentError("JWK Set: no usable key; " + "; ".join(refused[:5]))
    return KeySet(keys=tuple(admitted), refused=tuple(refused))


def _kid_ok(entry: Mapping[str, Any]) -> bool:
    kid = entry.get("kid")
    return kid is None or (isinstance(kid, str) and len(kid) <= MAX_KID_LENGTH)


def _admit(entry: object) -> VerificationKey:
    if not isinstance(entry, dict) or not _kid_ok(entry):
        raise KeyDocumentError("not a JWK with a text kid")
    if entry.get("kty") not in ("RSA", "EC"):
        raise KeyDocumentError("key type is not RSA or EC")
    if not _PRIVATE_MEMBERS.isdisjoint(entry):
        raise KeyDocumentError("a private key is published")
    if entry.get("use", "sig") != "sig":  # RFC 7517 4.2
        raise KeyDocumentError("not for signatures")
    operations = entry.get("key_ops", ["verify"])  # RFC 7517 4.3
    if not isinstance(operations, list) or "verify" not in operations:
        raise KeyDocumentError("key_ops does not allow verification")
    declared = entry.get("alg")
    public_key = _public_key(entry)
    algorithms = _algorithms(public_key)
    if declared is not None:
        algorithms &= {declared} if isinstance(declared, str) else frozenset()
    if not algorithms:
        raise KeyDocumentError("its alg does not fit its type, or is not supported")
    thumbprint = hashlib.sha256(
        public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).digest()
    return VerificationKey(entry.get("kid"), algorithms, public_key, thumbprint)


def _public_key(entry: Mapping[str, Any]) -> Any:
    if any(isinstance(number, str) and len(number) > _MAX_NUMBER for number in map(entry.get, _NUMBERS)):
        raise KeyDocumentError("a number in it is too long")
    # The key is parsed for its own type; a declared algorithm only narrows what it may verify.
    material = {name: value for name, value in entry.items() if name != "alg"}
    try:
        return jwt.PyJWK(material).key
    except Exception as error:  # noqa: BLE001 - PyJWT raises unrelated types for malformed members
        raise KeyDocumentError(f"cannot be parsed ({type(error).__name__})") from None


def _algorithms(public_key: object) -> frozenset[str]:
    if isinstance(public_key, RSAPublicKey):
        numbers = public_key.public_numbers()
        wrong = weakness(numbers.n, numbers.e)
        if wrong is not None:
            raise KeyDocumentError(wrong)
        return RSA_ALGORITHMS
    if isinstance(public_key, EllipticCurvePublicKey) and public_key.curve.name in EC_ALGORITHMS:
        return frozenset({EC_ALGORITHMS[public_key.curve.name]})
    raise KeyDocumentError("curve is not supported")


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """A fetched JWK Set; ``max_age``: seconds the provider says it stays fresh, if it says so."""

    body: bytes = field(repr=False)
    max_age: float | None = None


class KeySource(Protocol):
    """Where one issuer's JWK Set comes from."""

    async def fetch(self) -> KeyDocument:
        """Fetch it once, within bounded time; raise ``KeyDocumentError`` otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """When keys are fetched again. All in seconds."""

    interval: float = 300.0  # without Cache-Control
    shortest: float = 60.0
    longest: float = 3600.0
    cooldown: float = 30.0  # between fetches that unknown kids or failures ask for
    first_retry: float = 1.0  # while there are no keys at all; doubles up to the cooldown
    max_staleness: float = 86_400.0
    wait: float = 5.0  # the longest that a request waits for a fetch
    fetch_limit: float = 30.0  # the longest that a fetch takes before it counts as failed


class KeyStore:
    """The current key set of one issuer. Belongs to one event loop.

    ``source_key``: what it was built from; a store with an equal one can be reused.
    ``on_fetch`` is told of each fetch whether it brought keys.
    """

    def __init__(
        self,
        *,
        issuer: str,
        source: KeySource,
        clock: Clock,
        refresh: RefreshPolicy,
        source_key: Hashable = None,
        on_fetch: Callable[[bool], None] = lambda _ok: None,
    ) -> None:
        self.source_key = source_key
        self._issuer = issuer
        self._source = source
        self._clock = clock
        self._policy = refresh
        self._on_fetch = on_fetch
        self._current: KeySet | None = None
        self._fetched_at = float("-inf")
        self._attempted_at = float("-inf")
        self._next_due = float("-inf")
        self._failure: str | None = None
        self._failures_at_start = 0
        self._fetching: asyncio.Task[None] | None = None

    @property
    def fetched_at(self) -> float:
        """When the current set was fetched (seconds since the epoch); minus infinity if never."""
        return self._fetched_at

    @property
    def age(self) -> float:
        """Seconds since the current set was fetched; infinity if there is none."""
        return self._clock() - self._fetched_at

    @property
    def failure(self) -> str | None:
        """Why the last fetch failed, if it did."""
        return self._failure

    def current(self) -> KeySet | None:
        """The last good set, unless it is older than the staleness limit. Does no I/O."""
        if self._clock() - self._fetched_at > self._policy.max_staleness:
            return None
        return self._current

    async def find(self, kid: str | None, algorithm: str) -> VerificationKey:
        """The key that a token names; waits for the network only when the name is unknown.

        Raises:
            Denied: ``KEY_UNKNOWN``, or ``KEYS_UNAVAILABLE`` when there is no usable set.
        """
        keys = self.current()
        if keys is None or not keys.has_kid(kid):
            await self._refresh_within_cooldown()
            keys = self.current()
        if keys is None:
            raise Denied(Reason.KEYS_UNAVAILABLE, f"no keys of {self._issuer}: {self._failure}")
        key = keys.find(kid, algorithm)
        if key is None:
            raise Denied(Reason.KEY_UNKNOWN, f"no key of {self._issuer} fits kid and alg")
        return key

    async def _refresh_within_cooldown(self) -> None:
        """Join the running fetch, or start one unless one was started a moment ago."""
        # A negative age: the clock was set back, and must not hold up fetching until it has caught up.
        if self._fetching is None and 0 <= self._clock() - self._attempted_at < self._policy.cooldown:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.refresh()), self._policy.wait)

    def refresh(self) -> asyncio.Task[None]:
        """Fetch now, or join the fetch under way. The task never fails; see ``failure``."""
        if self._fetching is None:
            self._attempted_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        policy = self._policy
        try:
            async with asyncio.timeout(policy.fetch_limit):  # name resolution may hang for longer
                document = await self._source.fetch()
                keys = await in_own_thread(partial(parse_key_set, document.body), name="keys")
        except Exception as error:  # noqa: BLE001 - whatever the provider does, the last good set stays
            self._failure = str(error) if isinstance(error, KeyDocumentError) else type(error).__name__
            self._next_due = self._clock() + self._retry_delay()
            self._on_fetch(False)  # noqa: FBT003 - the callback's one argument
            _log.warning("jwks_fetch_failed", issuer=self._issuer, error=self._failure)
        else:
            now = self._clock()
            fresh_for = policy.interval if document.max_age is None else document.max_age
            self._current = keys
            self._fetched_at = now
            self._next_due = now + min(max(fresh_for, policy.shortest), policy.longest)
            self._failure = None
            self._on_fetch(True)  # noqa: FBT003
            for refusal in keys.refused:
                _log.warning("jwks_key_refused", issuer=self._issuer, key=refusal)
        finally:
            self._fetching = None

    def _retry_delay(self) -> float:
        """Soon while nothing works without it: the provider may be starting together with us."""
        if self._current is not None:
            return self._policy.cooldown
        delay = self._policy.first_retry * 2.0 ** min(self._failures_at_start, 16)
        self._failures_at_start += 1
        return min(delay, self._policy.cooldown)

    async def keep_fresh(self) -> None:
        """Fetch at start and then on schedule, until cancelled."""
        while True:
            now = self._clock()
            if self._attempted_at <= now < self._next_due:
                # Short naps: the clock may be stepped, and a fetch may have moved the due time.
                await asyncio.sleep(min(self._next_due - now, 5.0))
            else:
                # Shielded: requests that wait for this fetch must not suffer when this schedule ends.
                await asyncio.shield(self.refresh())
