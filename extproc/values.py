"""The vocabulary that the rooms share: frozen values, each passed on by the room that made it.

``RequestHead`` is what Envoy told us, untrusted. ``Identity`` exists only for a verified
token, ``Grant`` only for an identity that policy admitted, ``Credentials`` only for a grant
that STS honoured, ``SignedHeaders`` only for credentials and one exact request.

Nobody changes any of them. Those that are made for every request are not ``frozen`` all the
same: that makes making one take four times as long.
"""

from collections.abc import KeysView, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NewType

from extproc.errors import Reason
from extproc.fairness.queue import Owner
from extproc.interning import intern

VOLATILE_HEADERS = ("x-request-id", "traceparent", "content-length")
"""Headers whose values differ from request to request, and which only logs read: unless a rule reads
headers or a target signs one of these."""

MAX_ACTORS = 4
"""Levels of the ``act`` claim that are told."""


@dataclass(slots=True)
class RequestHead:
    """One request's head as Envoy delivered it.

    ``path`` is the raw ``:path`` (with query), ``headers`` the ordinary headers in order,
    names in lower case, duplicates kept. ``target_name`` comes from the route's gRPC
    initial metadata, which clients cannot set. ``jwt_payload`` is what Envoy's jwt_authn says
    it verified, if the pipeline asked for it; every number in it is a double.
    """

    method: str
    path: str
    authority: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    has_body: bool
    target_name: str | None = None
    jwt_payload: Mapping[str, object] | None = field(default=None, repr=False)
    _by_name: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_name = dict(self.headers)

    @property
    def names(self) -> KeysView[str]:
        """The names of all headers."""
        return self._by_name.keys()

    def get(self, name: str) -> str | None:
        """The value of a header that comes once, for logs; of several the last. ``name`` in lower case."""
        return self._by_name.get(name)

    def values(self, name: str) -> list[str]:
        """All values of one header; ``name`` in lower case."""
        if name not in self._by_name:
            return []
        if len(self._by_name) == len(self.headers):  # no name comes twice
            return [self._by_name[name]]
        return [value for key, value in self.headers if key == name]


class Caller(NamedTuple):
    """What logs tell of an identity. It refers to no token, so that events may outlive the session.

    Attributes:
        token_id: the ``jti`` claim, if it is a string.
        client: the ``azp`` claim, or else ``client_id``, if they are strings.
        actors: the subjects of the ``act`` claim, the current actor first, at most ``MAX_ACTORS``
            (RFC 8693 4.1); "" for one without a subject.
    """

    issuer: str
    subject: str
    token_id: str | None
    client: str | None
    actors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the verified token speaks for.

    Attributes:
        expires_at: seconds since the epoch (the ``exp`` claim).
        claims: all of them; that of a session may parse them anew each time (``authn.token_identity``).
        key_thumbprint: SHA-256 of the verifying key; None if Envoy verified.
        exchange_key_thumbprint: the same of a separate token for STS.
        config_digest: SHA-256 of the issuer's configuration that it was verified with.
        caller: what logs tell of it.
    """

    issuer: str
    subject: str
    expires_at: float
    claims: Mapping[str, object] = field(repr=False)
    key_thumbprint: bytes | None = field(repr=False)
    exchange_key_thumbprint: bytes | None = field(default=None, repr=False)
    config_digest: bytes = field(default=b"", repr=False)
    caller: Caller = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the claims that are read for every request: by the deny list and the audit log."""
        claims = self.claims
        client = _string(claims.get("azp")) or _string(claims.get("client_id"))
        caller = Caller(
            self.issuer,
            self.subject,
            _string(claims.get("jti")),
            client and intern(client),
            _actors(claims.get("act")),
        )
        object.__setattr__(self, "caller", caller)

    @property
    def token_id(self) -> str | None:
        """The ``jti`` claim, if it is a string."""
        return self.caller.token_id

    def loaded(self) -> "Identity":
        """Return the identity with its claims in memory, for whoever reads several of them."""
        return self

    @property
    def owner(self) -> Owner:
        """The user to whom what is limited by user is counted."""
        return Owner(self.issuer, self.subject)


def _string(claim: object) -> str | None:
    return claim if type(claim) is str else None


def _actors(actor: object) -> tuple[str, ...]:
    actors: list[str] = []
    while isinstance(actor, Mapping) and len(actors) < MAX_ACTORS:
        actors.append(_string(actor.get("sub")) or "")
        actor = actor.get("act")
    return tuple(actors)


MIN_DURATION = 900
"""Seconds: STS refuses to be asked for less
(https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html)."""

MAX_CHAINED_DURATION = 3600
"""Seconds: role chaining ends after an hour, and STS refuses to be asked for more."""


@dataclass(frozen=True, slots=True)
class ChainedRole:
    """A second role, assumed with the credentials of the first, usually in another account."""

    role_arn: str
    external_id: str | None = None
    policy_arns: tuple[str, ...] = ()
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What policy gives an identity: one role, under one session name, for ``duration`` seconds.

    ``policy_arns`` and ``policy`` (JSON) restrict the session further. Equal grants are
    interchangeable: a grant is part of the key under which credentials are kept.

    Attributes:
        ends_at: when the grant ends, in seconds since the epoch; None for no such time.
        break_glass: the reason that was given for it, or None.
    """

    role_arn: str
    session_name: str
    duration: int
    mapping: str | None  # None: the fallback role
    policy_arns: tuple[str, ...] = ()
    policy: str | None = None
    chain: ChainedRole | None = None
    ends_at: float | None = None
    break_glass: str | None = field(default=None, repr=False)

    @property
    def assumed_role_arn(self) -> str:
        """The role that the credentials are of: of a chain, the second."""
        return self.chain.role_arn if self.chain else self.role_arn


class InMemoryOnly:
    """Refuses pickling and copying: what holds secrets stays where it is."""

    __slots__ = ()

    def __reduce__(self) -> str:
        raise TypeError("secrets cannot be pickled")


@dataclass(frozen=True, slots=True, eq=False)
class Credentials(InMemoryOnly):
    """Temporary AWS credentials. The secret parts never show in ``repr``."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True, eq=False)
class WebIdentityToken(InMemoryOnly):
    """A token for STS: the user's own, or one that the identity provider gave for it.

    Attributes:
        obtained_at: seconds since the epoch.
        expires_at: seconds since the epoch; never after the user's own token expires.
        config_digest: of the configuration of the issuer under which it was obtained.
    """

    token: str = field(repr=False)
    obtained_at: float
    expires_at: float
    config_digest: bytes = field(default=b"", repr=False)


TokenDigest = NewType("TokenDigest", bytes)
"""SHA-256 of a token: what identifies a session."""


class SharedHeaders(InMemoryOnly):
    """Headers that the signatures of one second share.

    Attributes:
        pairs: names and values.
        around: what ``ext_proc.encoding`` last encoded with them: its shape, and the bytes before and after
            the signature. It holds a session token as they do, so it is kept here and ends with them.
        metadata: what that last said of a decision: of whom and what, and the bytes but for the duration.
    """

    __slots__ = ("around", "metadata", "pairs")

    def __init__(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self.pairs = pairs
        self.around: tuple[tuple[object, ...], bytes, bytes] | None = None
        self.metadata: tuple[Identity, Grant, str, bytes] | None = None


@dataclass(slots=True)
class SignedHeaders:
    """The signature as request headers to set, names in lower case."""

    authorization: str = field(repr=False)
    shared: SharedHeaders

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All of them."""
        return (("authorization", self.authorization), *self.shared.pairs)


@dataclass(slots=True)
class Allow:
    """Forward the request with this mutation: first ``remove``, then ``set`` and ``set_alike``.

    Setting replaces and never appends; ``set`` may hold the pseudo-header ``:path``. A ``body``
    replaces the request's; ``set`` then holds its ``content-length``.
    """

    set: tuple[tuple[str, str], ...] = field(repr=False)
    remove: tuple[str, ...]
    body: bytes | None = field(default=None, repr=False)
    set_alike: SharedHeaders | None = None


@dataclass(frozen=True, slots=True)
class ImmediateResponse:
    """Answer the client ourselves; nothing is forwarded. ``reason``: why, if this is a denial."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reason: Reason | None
