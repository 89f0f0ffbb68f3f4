"""The OIDC providers and roles that AWS needs, derived from the configuration."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Final
from urllib.parse import urlsplit

from extproc.config.issuers import Issuer
from extproc.config.roles import RoleMapping
from extproc.config.settings import Settings

SESSION_TAGS_CLAIM: Final = "https://aws.amazon.com/tags"
SOURCE_IDENTITY_CLAIM: Final = "https://aws.amazon.com/source_identity"
MAX_CLIENT_IDS: Final = 100  # of one IAM OIDC provider
BUILT_IN: Final = frozenset({"accounts.google.com"})
"""Identifiers of providers that AWS knows by itself. A trust policy names them so, and STS compares no client
ids: only the trust policy's condition on ``aud`` does. With an IAM OIDC provider of that URL it fails.
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
"""
_PRIVATE: Final = (
    ".local",
    ".internal",
    ".lan",
    ".localhost",
    ".svc",
    ".home.arpa",
)  # RFC 6761, RFC 6762, RFC 8375
SHORTEST_MAXIMUM: Final = 3600  # seconds; IAM takes no lower MaxSessionDuration

_ROLE_ARN: Final = re.compile(r"arn:(aws[a-z-]*):iam::([0-9]{12}):role(/(?:.+/)?)([^/]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Provider:
    """An IAM OIDC provider and what STS sees in its tokens.

    Attributes:
        issuer: the ``iss`` claim, with its path and trailing slash.
        client_ids: what STS compares with the provider's: ``azp`` where tokens have it, else ``aud``.
        original_audiences: ``aud`` values of tokens that have ``azp``; empty for tokens without it.
    """

    issuer: str
    client_ids: tuple[str, ...]
    original_audiences: tuple[str, ...] = ()
    session_tags: bool = False
    source_identity: bool = False

    @property
    def identifier(self) -> str:
        """Return the issuer without its scheme, as in the provider's ARN and in condition keys."""
        return self.issuer.partition("://")[2]

    @property
    def built_in(self) -> bool:
        """Return whether AWS knows the provider by itself."""
        return self.identifier in BUILT_IN


@dataclass(frozen=True, slots=True)
class FirstRole:
    """The first role of a chain, as the second one sees it."""

    arn: str
    external_id: str | None
    session_tags: bool
    source_identity: bool


@dataclass(frozen=True, slots=True)
class Role:
    """A role and all who may assume it.

    Attributes:
        providers: the OIDC providers whose tokens get the role.
        first_roles: the roles whose sessions assume this one.
        second_roles: ARNs of the roles that sessions of this one assume.
        max_session_duration: seconds, the longest that any mapping asks.
    """

    arn: str
    providers: tuple[Provider, ...] = ()
    first_roles: tuple[FirstRole, ...] = ()
    second_roles: tuple[str, ...] = ()
    max_session_duration: int = SHORTEST_MAXIMUM

    @property
    def partition(self) -> str:
        """Return the partition: aws, aws-cn, aws-us-gov, ..."""
        return self._parts[1]

    @property
    def account(self) -> str:
        """Return the account's 12 digits."""
        return self._parts[2]

    @property
    def path(self) -> str:
        """Return the path with both slashes; ``/`` for none."""
        return self._parts[3]

    @property
    def name(self) -> str:
        """Return the name without the path."""
        return self._parts[4]

    @property
    def session_tags(self) -> bool:
        """Return whether any session of the role may have tags."""
        return any(entry.session_tags for entry in self.providers) or any(
            entry.session_tags for entry in self.first_roles
        )

    @property
    def source_identity(self) -> bool:
        """Return whether any session of the role may have a source identity."""
        return any(entry.source_identity for entry in self.providers) or any(
            entry.source_identity for entry in self.first_roles
        )

    @property
    def _parts(self) -> re.Match[str]:
        match = _ROLE_ARN.fullmatch(self.arn)
        if match is None:
            raise ValueError(f"{self.arn}: not a role of AWS")
        return match

    def provider_arn(self, provider: Provider) -> str:
        """Return what trust policies name: the ARN of a provider in the role's account, or a built-in one."""
        if provider.built_in:
            return provider.identifier
        return f"arn:{self.partition}:iam::{self.account}:oidc-provider/{provider.identifier}"


@dataclass(frozen=True, slots=True)
class Account:
    """What one account needs.

    Attributes:
        providers: the IAM OIDC providers; without those that AWS knows by itself.
        roles: in the order in which they can be created.
    """

    partition: str
    account: str
    providers: tuple[Provider, ...]
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class _Use:
    """One way in which the configuration uses a role, before the uses of a role are joined."""

    providers: frozenset[Provider]
    duration: int = SHORTEST_MAXIMUM
    first_roles: frozenset[FirstRole] = field(default_factory=frozenset)
    second_roles: frozenset[str] = field(default_factory=frozenset)

    def __or__(self, other: "_Use") -> "_Use":
        return _Use(
            providers=self.providers | other.providers,
            duration=max(self.duration, other.duration),
            first_roles=self.first_roles | other.first_roles,
            second_roles=self.second_roles | other.second_roles,
        )


def accounts(
    settings: Settings, *, session_tags: bool = False, source_identity: bool = False
) -> list[Account]:
    """Return what each account needs. The first role of a chain, and its account, precede the second.

    Args:
        settings: the configuration.
        session_tags: tokens carry session tags, which the configuration does not show by itself.
        source_identity: tokens carry a source identity.

    Roles of services other than AWS are left out: ``warnings`` names them.
    """
    tags = session_tags or SESSION_TAGS_CLAIM in (settings.claims or {})
    source = source_identity or SOURCE_IDENTITY_CLAIM in (settings.claims or {})
    providers = {
        entry.issuer: replace(
            provider_of(entry),
            session_tags=tags or SESSION_TAGS_CLAIM in _required_of_sts_token(entry),
            source_identity=source or SOURCE_IDENTITY_CLAIM in _required_of_sts_token(entry),
        )
        for entry in settings.issuers
    }
    uses: dict[str, list[_Use]] = {}
    for arn, use in _uses(settings, providers):
        uses.setdefault(arn, []).append(use)
    joined = {arn: reduce(_Use.__or__, entries) for arn, entries in uses.items() if _ROLE_ARN.fullmatch(arn)}
    depths = {arn: _depth(arn, joined, frozenset()) for arn in joined}
    roles = [_role(arn, joined[arn]) for arn in sorted(joined, key=lambda arn: (depths[arn], arn))]
    places = dict.fromkeys((role.partition, role.account) for role in roles)
    return [
        _account(place, [role for role in roles if (role.partition, role.account) == place])
        for place in places
    ]


def _depth(arn: str, uses: Mapping[str, _Use], seen: frozenset[str]) -> int:
    """Return how many roles of chains come before this one: IAM takes no principal that does not exist."""
    before = {first.arn for first in uses[arn].first_roles if first.arn in uses} - seen - {arn}
    return max((1 + _depth(first, uses, seen | {arn}) for first in before), default=0)


def warnings(settings: Settings) -> Iterator[str]:
    """Yield a line for whatever IAM refuses."""
    for entry in settings.issuers:
        provider = provider_of(entry)
        parts = urlsplit(provider.issuer)
        if parts.scheme != "https" or parts.port is not None:
            yield f"{provider.issuer}: IAM takes only https:// issuers without port"
        elif "." not in (parts.hostname or "") or str(parts.hostname).endswith(_PRIVATE):
            yield (
                f"{provider.issuer}: STS fetches the issuer's metadata and keys over the internet, where "
                "this name is not known: it needs a public one"
            )
        if len(provider.client_ids) > MAX_CLIENT_IDS:
            yield f"{entry.issuer}: more than {MAX_CLIENT_IDS} client ids, IAM's limit for a provider"
    for path, arn in settings.role_arns():
        if not _ROLE_ARN.fullmatch(arn):
            yield f"{path}: {arn} is not a role of AWS; left out"


def notes(settings: Settings) -> Iterator[str]:
    """Yield a line for each issuer whose tokens may have an ``azp`` that the configuration does not name."""
    for entry in settings.issuers:
        if "azp" not in _required_of_sts_token(entry) and not entry.sts_token_header:
            setting = "token_exchange.token_required_claims" if entry.token_exchange else "required_claims"
            yield (
                f"{entry.issuer}: STS takes azp for the audience of tokens that have it; if these do, "
                f"list its values in {setting}.azp"
            )


def provider_of(issuer: Issuer) -> Provider:
    """Return the provider of the tokens that STS gets of an issuer's users."""
    exchange = issuer.token_exchange
    if exchange:
        # STS gets the exchanged token, which has an issuer, audiences and claims of its own.
        return _seen(
            exchange.token_issuer or issuer.issuer, exchange.token_audiences, exchange.token_required_claims
        )
    if issuer.sts_token_header:
        # STS gets the other token, an ID token as a rule: required_claims are those of the bearer token.
        return Provider(issuer.issuer, _strings(issuer.sts_token_audiences or issuer.audiences))
    return _seen(issuer.issuer, issuer.audiences, issuer.required_claims)


def _seen(issuer: str, audiences: Sequence[str], required_claims: Mapping[str, object]) -> Provider:
    """Return the provider of tokens with these audiences and required claims."""
    required = required_claims.get("azp")
    if required is None:
        return Provider(issuer, _strings(audiences))
    authorized = required if isinstance(required, list) else [required]
    return Provider(issuer, _strings(authorized), original_audiences=_strings(audiences))


def _required_of_sts_token(issuer: Issuer) -> Mapping[str, object]:
    """Return the claims that are required of the token that STS gets."""
    exchange = issuer.token_exchange
    return exchange.token_required_claims if exchange else issuer.required_claims


def _strings(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(sorted({str(value) for value in values}))


def _uses(settings: Settings, providers: Mapping[str, Provider]) -> Iterator[tuple[str, _Use]]:
    if settings.fallback_role_arn is not None:
        yield settings.fallback_role_arn, _Use(frozenset(providers.values()), settings.session_duration)
    for name, mapping in zip(settings.mapping_names, settings.role_mappings, strict=True):
        if mapping.role_arn is None:
            continue
        users = frozenset(providers[issuer] for issuer in _issuers(settings, name, mapping))
        duration = mapping.session_duration or settings.session_duration
        chain = mapping.chain
        second = frozenset(chain.role_arns.values()) if chain else frozenset()
        yield mapping.role_arn, _Use(users, duration, second_roles=second)
        first = FirstRole(
            arn=mapping.role_arn,
            external_id=chain.external_id if chain else None,
            session_tags=any(user.session_tags for user in users),
            source_identity=any(user.source_identity for user in users),
        )
        for arn in second:
            yield arn, _Use(frozenset(), duration, first_roles=frozenset({first}))


def _issuers(settings: Settings, name: str, mapping: RoleMapping) -> set[str]:
    """Return the issuers whose tokens get a mapping's role, by its own match or capped by a ceiling."""
    everyone = [entry.issuer for entry in settings.issuers]
    found = set(mapping.issuers or everyone)
    for ceiling in settings.ceilings:
        if ceiling.max_mapping == name:
            capped = set(ceiling.issuers or everyone)
            for other in settings.role_mappings:
                found |= capped & set(other.issuers or everyone) if other.role_arn else set()
    return found


def _role(arn: str, use: _Use) -> Role:
    return Role(
        arn=arn,
        providers=tuple(sorted(use.providers, key=lambda entry: entry.issuer)),
        first_roles=tuple(sorted(use.first_roles, key=lambda entry: (entry.arn, entry.external_id or ""))),
        second_roles=tuple(sorted(use.second_roles)),
        max_session_duration=max(SHORTEST_MAXIMUM, use.duration),
    )


def _account(place: tuple[str, str], roles: Sequence[Role]) -> Account:
    providers: dict[str, Provider] = {}
    for provider in (entry for role in roles for entry in role.providers if not entry.built_in):
        providers[provider.issuer] = _both(providers.get(provider.issuer, provider), provider)
    return Account(
        partition=place[0],
        account=place[1],
        providers=tuple(providers[issuer] for issuer in sorted(providers)),
        roles=tuple(roles),
    )


def _both(one: Provider, other: Provider) -> Provider:
    """Return one provider for the tokens of both: exchanged tokens may share an issuer with others."""
    return Provider(
        one.issuer,
        _strings([*one.client_ids, *other.client_ids]),
        original_audiences=_strings([*one.original_audiences, *other.original_audiences]),
        session_tags=one.session_tags or other.session_tags,
        source_identity=one.source_identity or other.source_identity,
    )
