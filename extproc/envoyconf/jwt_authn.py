"""Envoy's jwt_authn filter, for issuers whose tokens Envoy verifies. It precedes extproc's filter.

It passes every request and says which tokens it verified. Refusals are left to extproc, which sends the
right challenge.
"""

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import DataSource, HttpUri
from envoy_data_plane.envoy.config.route.v3 import RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwksAsyncFetch,
    JwtAuthentication,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    JwtRequirementOrList,
    RemoteJwks,
    RequirementRule,
)
from envoy_data_plane.google.protobuf import Empty

from extproc.authn.envoy_jwt import PAYLOAD_KEY
from extproc.config import Issuer, Settings
from extproc.envoyconf.clusters import cluster_at

_FETCH_TIMEOUT = timedelta(seconds=5)


def issuers_of_envoy(settings: Settings, *, all_issuers: bool) -> list[Issuer]:
    """Return the issuers for jwt_authn: those that are configured so, or all whose keys it can find."""
    return [
        issuer
        for issuer in settings.issuers
        if issuer.verified_by == "envoy" or (all_issuers and (issuer.jwks_uri or issuer.jwks_file))
    ]


def jwt_authn_filter(settings: Settings, issuers: list[Issuer]) -> JwtAuthentication:
    """Return the filter; it passes on verified claims under ``PAYLOAD_KEY``."""
    names = [_provider_name(position) for position in range(len(issuers))]
    requirements = [JwtRequirement(provider_name=name) for name in names]
    requirements.append(JwtRequirement(allow_missing_or_failed=Empty()))
    return JwtAuthentication(
        providers={
            name: _provider(settings, issuer, name) for name, issuer in zip(names, issuers, strict=True)
        },
        rules=[
            RequirementRule(
                match=RouteMatch(prefix="/"),
                requires=JwtRequirement(requires_any=JwtRequirementOrList(requirements=requirements)),
            )
        ],
    )


def jwks_clusters(issuers: list[Issuer], *, ca_file: str) -> list[Cluster]:
    """Return the clusters from which jwt_authn fetches keys, with TLS unless the address is ``http:``."""
    return [
        cluster_at(_cluster_name(_provider_name(position)), issuer.jwks_uri, ca_file=ca_file)
        for position, issuer in enumerate(issuers)
        if issuer.jwks_uri
    ]


def _provider(settings: Settings, issuer: Issuer, name: str) -> JwtProvider:
    provider = JwtProvider(
        issuer=issuer.issuer,
        audiences=issuer.audiences,
        require_expiration=True,
        clock_skew_seconds=issuer.leeway,
        # This header only: a token from elsewhere would be verified instead of the bearer token.
        from_headers=[JwtHeader(name="authorization", value_prefix="Bearer ")],
        forward=True,  # STS needs the token itself
        payload_in_metadata=PAYLOAD_KEY,
    )
    if issuer.jwks_file:
        provider.local_jwks = DataSource(filename=issuer.jwks_file)
        return provider
    refresh = issuer.refresh or settings.refresh
    provider.remote_jwks = RemoteJwks(
        http_uri=HttpUri(uri=issuer.jwks_uri or "", cluster=_cluster_name(name), timeout=_FETCH_TIMEOUT),
        cache_duration=timedelta(seconds=refresh.interval),
        async_fetch=JwksAsyncFetch(failed_refetch_duration=timedelta(seconds=1)),
    )
    return provider


def _provider_name(position: int) -> str:
    return f"issuer_{position}"


def _cluster_name(provider: str) -> str:
    return f"jwks_{provider}"
