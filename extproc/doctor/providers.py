"""Checks of identity providers: their metadata, their keys and their clock."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain

from extproc.app.factories import key_source
from extproc.authn.jwks import KeyDocumentError, KeySet, parse_key_set
from extproc.authn.own_thread import in_own_thread
from extproc.authn.provider import Discovery, HttpDocuments
from extproc.config import Issuer
from extproc.doctor.examination import Examination, issuer_path, keys_url
from extproc.doctor.finding import Finding, failed, passed, skipped, warned
from extproc.sts.aws_clock import TOLERATED, seconds_ahead

_OfIssuer = Callable[[Examination, str, Issuer], Awaitable[Finding]]

_METADATA = (
    "correct `issuer`, which must be identical to the one in /.well-known/openid-configuration, with or "
    "without a slash at its end; for a provider without discovery set jwks_uri"
)


async def discovery(examination: Examination) -> list[Finding]:
    """Fetch each provider's metadata, and compare its issuer with the configured one."""
    return await _each(examination, _discovery)


async def keys(examination: Examination) -> list[Finding]:
    """Fetch each provider's keys, and compare their kinds with the accepted algorithms."""
    return await _each(examination, _keys)


async def clocks(examination: Examination) -> list[Finding]:
    """Compare this machine's clock with the ``Date`` headers of providers and STS."""
    leeway = min(issuer.leeway for issuer in examination.settings.issuers)
    found = []
    for subject, (date, arrived_at) in examination.dates.items():
        ahead = seconds_ahead(date, arrived_at)
        if ahead is None:
            found.append(skipped(subject, "no Date header"))
        elif abs(ahead) <= TOLERATED:
            found.append(passed(subject, f"differs by {abs(ahead):.0f} s"))
        else:
            direction = "behind" if ahead > 0 else "ahead"
            detail = f"this machine's clock is {abs(ahead):.0f} s {direction}"
            refuse = f"; tokens are accepted within a leeway of {leeway} s"
            next_step = "synchronise the clock (chrony, systemd-timesyncd)"
            beyond = abs(ahead) > leeway
            found.append(
                failed(subject, detail + refuse, next_step) if beyond else warned(subject, detail, next_step)
            )
    return found or [skipped("clock", "no server answered with its time")]


async def _each(examination: Examination, check: _OfIssuer) -> list[Finding]:
    async def examine(position: int, issuer: Issuer) -> list[Finding]:
        subject = f"{issuer_path(position)} {issuer.issuer}"
        if issuer.verified_by == "envoy":
            return [skipped(subject, "Envoy's jwt_authn verifies these tokens")]
        earlier = None if issuer.jwks_file else examination.broken.get(keys_url(issuer))
        if earlier is not None:
            return [skipped(subject, f"see {earlier}")]
        return [await check(examination, subject, issuer)]

    found = await asyncio.gather(*(examine(*each) for each in enumerate(examination.settings.issuers)))
    return list(chain.from_iterable(found))


async def _discovery(examination: Examination, subject: str, issuer: Issuer) -> Finding:
    source = key_source(issuer, HttpDocuments())
    if not isinstance(source, Discovery):
        return skipped(subject, f"the keys come from {issuer.jwks_uri or issuer.jwks_file}")
    try:
        jwks_uri = await source.jwks_uri()
    except KeyDocumentError as error:
        examination.broken[keys_url(issuer)] = "discovery"
        return failed(subject, str(error), _METADATA)
    examination.jwks_uris[issuer.issuer] = jwks_uri
    return passed(subject, f"is the issuer of its metadata; its keys are at {jwks_uri}")


async def _keys(examination: Examination, subject: str, issuer: Issuer) -> Finding:
    try:
        document = await key_source(issuer, HttpDocuments()).fetch()
        examination.dates[subject] = document.date, examination.clock()
        found = await in_own_thread(partial(_key_set, document.body), name="doctor")
    except KeyDocumentError as error:
        place = issuer.jwks_file or issuer.jwks_uri or examination.jwks_uris.get(issuer.issuer, "")
        detail = str(error) if place in str(error) else f"{place}: {error}"
        return failed(subject, detail, f"open {place}: it must be a JWK Set (JSON) of RSA or EC keys")
    offered = sorted(frozenset[str]().union(*(key.algorithms for key in found.keys)))
    usable = sorted(set(offered) & set(issuer.algorithms))
    if not usable:
        detail = (
            f"the keys are for {', '.join(offered)}, and algorithms accepts {', '.join(issuer.algorithms)}"
        )
        return failed(
            subject, detail, "add one of them to `algorithms` of this issuer, or change the provider"
        )
    refused = f"; not used: {'; '.join(found.refused[:3])}" if found.refused else ""
    return passed(subject, f"{len(found.keys)} for {', '.join(usable)}{refused}")


def _key_set(body: bytes) -> KeySet:
    """Parse a key set; a web page in its place, of a proxy or a login, is named as one."""
    if body.lstrip()[:1] == b"<":
        raise KeyDocumentError("a web page (HTML) in place of keys")
    return parse_key_set(body)
