"""Warnings about ``issuers`` and ``scopes``."""

import os
from collections.abc import Iterator
from itertools import combinations, permutations

from extproc.authn.audience import canonical_audience
from extproc.config.fields import repetitions
from extproc.config.issuers import Issuer
from extproc.config.settings import Settings
from extproc.config.token_exchange import TokenExchangeSettings
from extproc.scopes import ScopeHierarchy
from extproc.spelling import did_you_mean


def issuer_warnings(settings: Settings) -> Iterator[str]:
    """Yield issuers that are hard to tell apart, or whose settings do not fit together."""
    for (first, one), (second, other) in combinations(enumerate(settings.issuers), 2):
        if _plain(one.issuer) == _plain(other.issuer):
            yield (
                f"issuers[{second}].issuer: differs from issuers[{first}] only by case or a last slash; "
                "the iss of a token equals only one of them"
            )
    for position, issuer in enumerate(settings.issuers):
        yield from (f"issuers[{position}].{problem}" for problem in _issuer(issuer))


def scope_warnings(settings: Settings) -> Iterator[str]:
    """Yield scopes that are implied by others or never required."""
    hierarchy = ScopeHierarchy(settings.scopes)
    required = [
        (f"issuers[{position}].required_scopes", issuer.required_scopes)
        for position, issuer in enumerate(settings.issuers)
    ]
    required += [(f"{path}.require_scopes", rule.require_scopes) for path, rule in settings.rules()]
    for path, scopes in required:
        if "offline_access" in scopes:
            yield f"{path}: offline_access requests a refresh token, and is never in access tokens"
        yield from repetitions(path, scopes)
        for one, other in permutations(dict.fromkeys(scopes), 2):
            if other in hierarchy.sufficient(one):
                yield f"{path}: {one} is included in {other}, so that {other} is enough"
    used = {scope for _, scopes in required for scope in scopes}
    for broad, narrow in settings.scopes.items():
        yield from repetitions(f"scopes.{broad}", narrow)
        if not any(broad in hierarchy.sufficient(scope) for scope in used):
            yield f"scopes.{broad}: includes nothing that is required{did_you_mean(narrow[0], sorted(used))}"


def _plain(url: str) -> str:
    return url.rstrip("/").lower()


def _issuer(issuer: Issuer) -> Iterator[str]:
    if "/.well-known/" in issuer.issuer:
        yield "issuer: is the address of a document; the iss of tokens is shorter"
    if issuer.jwks_uri and issuer.jwks_uri.endswith("/openid-configuration"):
        yield "jwks_uri: is the address of the metadata, not of the keys; leave it out"
    if issuer.jwks_file and not os.access(issuer.jwks_file, os.R_OK):
        yield f"jwks_file: {issuer.jwks_file} cannot be read here"
    if issuer.allow_insecure_http and not (issuer.jwks_uri or issuer.issuer).startswith("http:"):
        yield "allow_insecure_http: is not needed, and would let a redirect of discovery go over http://"
    for name in issuer.required_claims:
        if name in ("exp", "iat", "nbf", "jti"):
            yield f"required_claims: {name} differs in every token"
    for name in ("audiences", "algorithms", "token_types"):
        yield from repetitions(name, getattr(issuer, name))
    yield from _same_audiences(issuer)
    if issuer.token_exchange is not None:
        yield from (f"token_exchange.{problem}" for problem in _exchange(issuer, issuer.token_exchange))


def _exchange(issuer: Issuer, exchange: TokenExchangeSettings) -> Iterator[str]:
    """Yield what the provider cannot know, and audiences that give an exchanged token more than its use."""
    for audience in exchange.token_audiences:
        if audience in issuer.audiences:
            yield f"token_audiences: {audience!r} is in audiences: clients could send a token meant for AWS"
    yield from repetitions("token_audiences", exchange.token_audiences)
    if exchange.grant == "jwt-bearer" and not exchange.scopes:
        yield "scope: Entra ID needs one, such as api://ID/.default, which says what the token is for"
    if exchange.grant == "token-exchange" and not (
        exchange.audiences or exchange.resources or exchange.scopes
    ):
        yield "audience: without one, resource or scope the provider does not know what the token is for"
    if exchange.token_issuer == issuer.issuer:
        yield "token_issuer: is the issuer itself, which is the default"


def _same_audiences(issuer: Issuer) -> Iterator[str]:
    for name in ("audiences", "sts_token_audiences"):
        known: dict[str, str] = {}
        for audience in dict.fromkeys(getattr(issuer, name)):
            canonical = canonical_audience(audience, ignore_slash=issuer.ignore_audience_slash)
            first = known.setdefault(canonical, audience)
            if first is not audience:
                yield f"{name}: {audience!r} is the same as {first!r}"
    both = [*issuer.audiences, *issuer.sts_token_audiences]
    if issuer.ignore_audience_slash and all(map(_slash_is_kept, both)):
        yield "ignore_audience_slash: none of the audiences is a URL whose last slash could be left out"


def _slash_is_kept(audience: str) -> bool:
    """Return whether ``ignore_audience_slash`` has no effect on an audience."""
    exact = canonical_audience(audience, ignore_slash=False)
    return (
        canonical_audience(audience, ignore_slash=True) == exact
        and canonical_audience(f"{audience}/", ignore_slash=True) != exact
    )
