"""Builds the objects of all packages from the settings."""

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from extproc import config
from extproc.authn.audience import Audiences
from extproc.authn.challenge import ProtectedResource
from extproc.authn.claims import ClaimValue
from extproc.authn.keys import KeySource, KeyStore, RefreshPolicy
from extproc.authn.origin import Origins
from extproc.authn.provider import Discovery, HttpDocuments, JwksFile, JwksUri
from extproc.authn.token import TokenLimits
from extproc.authn.trusted_issuer import ExchangedTokens, TrustedIssuer
from extproc.authn.verifier import Verifier
from extproc.clock import Clock
from extproc.config import Issuer, LimitSettings, Refresh, RoleMapping, RuleSettings, Settings, Tls
from extproc.config.rate_limits import PRESETS, rate_of
from extproc.config.targets import TargetSettings
from extproc.fairness.stream_slots import SlotLimit
from extproc.grpc_server.certificates import CertificateError, CertificateFiles
from extproc.loopback import is_loopback_url
from extproc.policy import ceilings, rate_limits
from extproc.policy.mappings import AccountSelector, Rule
from extproc.policy.matchers import ClaimContains, Matcher, account_expression, cel_matcher, name_expression
from extproc.policy.rate_limits import RateLimit
from extproc.policy.rules import Policy
from extproc.policy.validity import ALWAYS, ReasonSource, Validity
from extproc.request import pipeline
from extproc.request.denial_responses import DenialResponses
from extproc.request.header_limits import HeaderLimits
from extproc.request.pipeline import Lasting, Pipeline
from extproc.scopes import RequiredScopes, ScopeHierarchy
from extproc.signing.targets import Target, TargetTable
from extproc.values import ChainedRole

NOTHING_KEPT: Mapping[Hashable, KeyStore] = MappingProxyType({})


def build_policy(settings: Settings) -> Policy:
    """Return the policy of the role mappings and ceilings."""
    hierarchy = scope_hierarchy(settings)
    return Policy(
        rules=[
            Rule(
                name=name,
                matcher=_matcher(mapping, settings.role_claim),
                role_arn=mapping.role_arn,
                priority=mapping.priority,
                chain=_chain(mapping),
                session_policy=mapping.session_policy,
                session_duration=mapping.session_duration,
                account=_account(mapping),
                issuers=_issuers(mapping),
                message=mapping.message or "",
                require_scopes=hierarchy.require(mapping.require_scopes),
                validity=_validity(mapping),
                break_glass=mapping.break_glass,
            )
            for name, mapping in zip(settings.mapping_names, settings.role_mappings, strict=True)
        ],
        ceilings=[
            ceilings.Ceiling(
                name=ceiling.name,
                matcher=_matcher(ceiling, settings.role_claim),
                priority=ceiling.priority,
                max_mapping=ceiling.max_mapping,
                session_policy=ceiling.session_policy,
                issuers=_issuers(ceiling),
                message=ceiling.message or "",
                require_scopes=hierarchy.require(ceiling.require_scopes),
            )
            for ceiling in settings.ceilings
        ],
        session_name=name_expression(settings.session_name) if settings.session_name else None,
        reject_session_names=settings.session_name_invalid == "reject",
        fallback_role_arn=settings.fallback_role_arn,
        session_name_claim=settings.session_name_claim,
        session_duration=settings.session_duration,
        claims_schema=settings.claims_schema,
        cost_limit=settings.limits.policy_cost,
        further_reads=rate_limits.reads(build_rate_limits(settings)),
        reason_source=ReasonSource(settings.break_glass.header, settings.break_glass.argument),
    )


def build_rate_limits(settings: Settings) -> list[RateLimit]:
    """Return the rate limits, presets written out."""
    found: list[RateLimit] = []
    for position, entry in enumerate(settings.rate_limits):
        name = entry.name or f"rate_limits[{position}]"
        targets = frozenset(entry.targets)
        if entry.rate is not None:
            matcher = cel_matcher(entry.matcher) if entry.matcher is not None else None
            rate = rate_of(entry.rate, entry.burst)
            found.append(RateLimit(name, rate, matcher, targets, tuple(entry.per)))
        for preset in PRESETS[entry.preset] if entry.preset is not None else ():
            of = f"{name} per {' and '.join(preset.per) or 'account'}"
            found.append(RateLimit(of, rate_of(preset.rate, preset.burst), None, targets, tuple(preset.per)))
    return found


def _validity(mapping: RoleMapping) -> Validity:
    return ALWAYS if mapping.valid is None else Validity(mapping.valid.begins_at, mapping.valid.ends_at)


def _issuers(entry: RuleSettings) -> frozenset[str] | None:
    return None if entry.issuers is None else frozenset(entry.issuers)


def _matcher(entry: RuleSettings, role_claim: str) -> Matcher:
    if entry.claim is not None:
        return ClaimContains(claim=role_claim, value=entry.claim)
    return cel_matcher(entry.matcher or "")


def _chain(mapping: RoleMapping) -> ChainedRole | None:
    chain = mapping.chain
    return ChainedRole(chain.role_arn, chain.external_id) if chain else None


def _account(mapping: RoleMapping) -> AccountSelector | None:
    chain = mapping.chain
    if chain is None or chain.account is None:
        return None
    return AccountSelector(account_expression(chain.account), chain.role_arns)


def build_key_stores(
    settings: Settings,
    clock: Clock,
    kept: Mapping[Hashable, KeyStore] = NOTHING_KEPT,
    on_fetch: Callable[[str, bool], None] = lambda _issuer, _ok: None,
) -> dict[str, KeyStore]:
    """Return a key store for each issuer, except for those whose tokens Envoy verifies.

    ``kept``: stores by their ``source_key``; one is reused where an issuer still has the same.
    ``on_fetch`` is called after each fetch, with the issuer and whether the fetch returned keys.
    """
    documents = HttpDocuments()
    stores = {}
    for issuer in settings.issuers:
        if issuer.verified_by == "extproc":
            source_key = _source_key(issuer, settings)
            stores[issuer.issuer] = kept.get(source_key) or KeyStore(
                issuer=issuer.issuer,
                source=key_source(issuer, documents),
                clock=clock,
                refresh=_refresh_policy(issuer.refresh or settings.refresh),
                source_key=source_key,
                on_fetch=partial(on_fetch, issuer.issuer),
            )
    return stores


def _source_key(issuer: Issuer, settings: Settings) -> Hashable:
    """Return what a key store is built from, as a key."""
    refresh = issuer.refresh or settings.refresh
    return (issuer.issuer, issuer.jwks_uri, issuer.jwks_file, issuer.allow_insecure_http, refresh)


def _refresh_policy(refresh: Refresh) -> RefreshPolicy:
    return RefreshPolicy(
        interval=refresh.interval,
        shortest=refresh.shortest,
        longest=refresh.longest,
        cooldown=refresh.cooldown,
        max_staleness=refresh.max_staleness,
    )


def key_source(issuer: Issuer, documents: HttpDocuments) -> KeySource:
    """Return where an issuer's keys come from: a file, a fixed URL, or discovery."""
    if issuer.jwks_file:
        return JwksFile(Path(issuer.jwks_file))
    allow_http = issuer.allow_insecure_http or is_loopback_url(issuer.issuer)
    if issuer.jwks_uri:
        allow_http = issuer.allow_insecure_http or is_loopback_url(issuer.jwks_uri)
        return JwksUri(uri=issuer.jwks_uri, documents=documents, allow_http=allow_http)
    return Discovery(issuer=issuer.issuer, documents=documents, allow_http=allow_http)


def build_verifier(settings: Settings, stores: dict[str, KeyStore], clock: Clock) -> Verifier:
    """Return the verifier of all configured issuers."""
    hierarchy = scope_hierarchy(settings)
    required = {issuer.issuer: hierarchy.require(issuer.required_scopes) for issuer in settings.issuers}
    return Verifier(
        issuers=[
            TrustedIssuer(
                issuer=issuer.issuer,
                audiences=Audiences(issuer.audiences, ignore_slash=issuer.ignore_audience_slash),
                algorithms=frozenset(issuer.algorithms),
                token_types=frozenset(token_type.lower() for token_type in issuer.token_types),
                leeway=issuer.leeway,
                keys=stores.get(issuer.issuer),
                required_claims={
                    name: _values(required) for name, required in issuer.required_claims.items()
                },
                required_scopes=required[issuer.issuer],
                exchange_header=issuer.sts_token_header,
                exchange_audiences=Audiences(
                    issuer.sts_token_audiences or issuer.audiences, ignore_slash=issuer.ignore_audience_slash
                ),
                exchanged=_exchanged_tokens(issuer),
                config_digest=_config_digest(issuer, settings.limits, required[issuer.issuer]),
            )
            for issuer in settings.issuers
        ],
        clock=clock,
        limits=TokenLimits(
            size=settings.limits.token_bytes,
            nesting=settings.limits.claims_depth,
            values=settings.limits.claims_values,
        ),
        keeps_claims=any(limit.matcher is not None for limit in settings.rate_limits),
    )


def _exchanged_tokens(issuer: Issuer) -> ExchangedTokens | None:
    exchange = issuer.token_exchange
    if exchange is None:
        return None
    return ExchangedTokens(
        issuer=exchange.token_issuer or issuer.issuer,
        audiences=Audiences(exchange.token_audiences, ignore_slash=issuer.ignore_audience_slash),
        required_claims={name: _values(wanted) for name, wanted in exchange.token_required_claims.items()},
        subject_claim=exchange.subject_claim,
        token_subject_claim=exchange.token_subject_claim or exchange.subject_claim,
    )


def scope_hierarchy(settings: Settings) -> ScopeHierarchy:
    """Return the hierarchy of ``scopes``, with all scopes that some section requires."""
    return ScopeHierarchy(settings.scopes, (*_baseline_scopes(settings), *_rules_scopes(settings)))


def _baseline_scopes(settings: Settings) -> Iterator[str]:
    for issuer in settings.issuers:
        yield from issuer.required_scopes


def _rules_scopes(settings: Settings) -> Iterator[str]:
    for entry in (*settings.role_mappings, *settings.ceilings):
        yield from entry.require_scopes


def _config_digest(issuer: Issuer, limits: LimitSettings, required: RequiredScopes) -> bytes:
    """Return the SHA-256 of all settings that verifying an issuer's tokens depends on."""
    of_tokens = limits.model_dump_json(include={"token_bytes", "claims_depth", "claims_values"})
    scopes = [sorted(enough) for enough in required.sufficient]
    return hashlib.sha256(
        f"{issuer.model_dump_json(exclude={'refresh'})}{of_tokens}{scopes}".encode()
    ).digest()


def _values(required: ClaimValue | list[ClaimValue]) -> tuple[ClaimValue, ...]:
    return tuple(required) if isinstance(required, list) else (required,)


def build_resource(settings: Settings) -> ProtectedResource:
    """Return the resource as clients see it, with the scopes of all issuers and rules."""
    return ProtectedResource(
        url=settings.resource.url,
        aliases=settings.resource.aliases,
        authorization_servers=[issuer.issuer for issuer in settings.issuers],
        name=settings.resource.name,
        scopes=list(dict.fromkeys(_baseline_scopes(settings))),
        step_up_scopes=list(dict.fromkeys(_rules_scopes(settings))),
    )


def build_origins(settings: Settings, verifier: Verifier) -> Origins:
    """Return the origins of the web pages that may call."""
    return Origins(frozenset(settings.origins), request_headers=verifier.exchange_headers)


def build_denials(settings: Settings, resource: ProtectedResource, origins: Origins) -> DenialResponses:
    """Return what writes the responses to denied requests."""
    return DenialResponses(
        resource=resource,
        origins=origins,
        support=settings.support,
        tell_with_200=settings.mcp.denied_status == 200,  # noqa: PLR2004 - the HTTP status
    )


def build_targets(settings: Settings) -> TargetTable:
    """Return the table of targets, by name, prefix and host."""
    # Reasons are for this gateway alone.
    withhold = [settings.break_glass.header] if settings.break_glass_mappings else []
    return TargetTable([build_target(target, withhold=withhold) for target in settings.targets])


def build_target(target: TargetSettings, *, withhold: Sequence[str] = ()) -> Target:
    """Return one target; ``withhold``: further headers that are not sent to it."""
    return Target(
        name=target.name,
        host=target.host,
        scope=target.scope,
        payload=target.payload_mode,
        prefix=target.prefix,
        sign_headers=frozenset(target.sign_headers),
        withhold_headers=frozenset((*target.withhold_headers, *withhold)),
        default_aws_region=target.default_aws_region,
        aws_chunked=target.aws_chunked_mode,
        mcp=target.mcp,
        filter_tools_list=target.filter_tools_list,
    )


def build_pipeline(
    settings: Settings,
    lasting: Lasting,
    *,
    verifier: Verifier,
    policy: Policy,
    targets: TargetTable,
    filters_lists: bool = True,
) -> Pipeline:
    """Build the pipeline of a configuration: the server's, and that of ``extproc explain``."""
    resource, origins = build_resource(settings), build_origins(settings, verifier)
    return pipeline.build(
        lasting,
        resource=resource,
        origins=origins,
        targets=targets,
        verifier=verifier,
        policy=policy,
        deadline=settings.session_deadline,
        max_body_bytes=settings.limits.request_body_bytes,
        max_mcp_bytes=settings.limits.mcp_body_bytes,
        header_limits=HeaderLimits(
            count=settings.limits.request_headers, size=settings.limits.request_headers_kib * 1024
        ),
        remember_heads=settings.head_memory.enabled,
        check_one_head_in=settings.head_memory.check_one_in,
        observe_upstream=settings.observe_upstream,
        denials=build_denials(settings, resource, origins),
        rate_limits=build_rate_limits(settings),
        filters_lists=filters_lists,
        with_metadata=settings.dynamic_metadata,
    )


def slot_limits(settings: Settings, *, workers: int = 1) -> dict[str, SlotLimit]:
    """Return one process's limits of open requests, by target; those without any are not in it."""
    return {
        target.name: SlotLimit(
            open=target.connection_limit,
            of_one=target.limit_of_one_subject,
            waiting=target.waiting_limit,
            seconds=target.max_wait,
        ).divided(workers)
        for target in settings.targets
        if target.counts_streams
    }


def warnings(settings: Settings, policy: Policy) -> list[str]:
    """Return what is valid and yet likely wrong, as ``path: message`` lines."""
    from extproc.policy import review  # noqa: PLC0415 - a server warns of nothing

    return [
        *config.warnings(settings),
        *file_warnings(settings),
        *review.warnings(policy, issuers=[entry.issuer for entry in settings.issuers]),
    ]


def file_warnings(settings: Settings) -> list[str]:
    """Return why the files of ``listen.tls`` cannot be used; an empty list if they can."""
    tls = settings.listen.tls
    if tls is None or not Path(tls.certificate).parent.is_dir():
        return []
    try:
        build_certificates(tls)
    except CertificateError as error:
        return [f"listen.tls: {error}"]
    return []


def file_notes(settings: Settings) -> list[str]:
    """Return which files of ``listen.tls`` were not checked, since their folder is not on this machine."""
    tls = settings.listen.tls
    if tls is None or Path(tls.certificate).parent.is_dir():
        return []
    return [
        f"listen.tls: {Path(tls.certificate).parent} is not on this machine; its files were not looked at"
    ]


def build_certificates(tls: Tls) -> CertificateFiles:
    """Read the files of ``listen.tls``.

    Raises:
        CertificateError: they cannot be used.
    """
    return CertificateFiles(
        certificate=Path(tls.certificate),
        private_key=Path(tls.private_key),
        client_ca=Path(tls.client_ca) if tls.client_ca else None,
    )
