"""What is valid and yet likely wrong: warnings of ``extproc check`` as ``path: message`` lines.

Rules are looked at in ``policy.review``, expressions in ``config.expressions``. What gives secrets
away is no warning but an error of the section that it is in.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, permutations
from pathlib import Path
from urllib.parse import urlsplit

from extproc.authn.audience import Audiences, canonical_audience
from extproc.config.expressions import expressions
from extproc.config.issuers import Issuer
from extproc.config.listen import stays_local
from extproc.config.settings import Settings
from extproc.config.targets import TargetSettings
from extproc.loopback import is_loopback_url
from extproc.policy.arn import is_aws_endpoint
from extproc.policy.compared import compared
from extproc.scopes import ScopeHierarchy
from extproc.signing.headers import HeaderPolicy, Treatment
from extproc.signing.hosts import infer_scope
from extproc.signing.profiles import profile_of
from extproc.spelling import did_you_mean

_METHOD = re.compile(r"[A-Z]{1,32}", re.ASCII)
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}")
_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "eusc-": "aws-eusc",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
}
"""By the beginning of the region's name, as botocore's endpoint rules have them; ``aws`` for all others."""
_EVERY_ADDRESS = re.compile(r"(?:0\.0\.0\.0|\[::\]):[0-9]+")
_STS_HOST = re.compile(r"(?:.+\.)?sts\.(?P<region>[a-z0-9-]+)\.(?:vpce\.)?(?:amazonaws|api)\..+")
_WELL_KNOWN = "/.well-known/"


def warnings(settings: Settings) -> list[str]:
    """Return what is likely wrong, in the order of the sections."""
    checks: tuple[Callable[[Settings], Iterator[str]], ...] = (
        _listen, _resource, _issuers, _scopes, _targets, _sts, _partitions, _names, _mappings, _compared,
        _told, _others,
    )  # fmt: skip
    return [warning for check in checks for warning in check(settings)]


def _listen(settings: Settings) -> Iterator[str]:
    listen = settings.listen
    if listen.admin and _EVERY_ADDRESS.fullmatch(listen.admin) and not listen.insecure_plaintext:
        yield f"listen.admin: {listen.admin} is reachable from every network, in clear text"
    sockets = [address for address in (*listen.grpc_addresses, listen.admin_grpc) if _is_socket(address)]
    if sockets and int(listen.socket_mode, 8) & 0o002:
        yield f"listen.socket_mode: {listen.socket_mode} lets every user of this machine connect"
    if listen.admin_grpc and not _is_socket(listen.admin_grpc) and stays_local(listen.admin_grpc):
        yield "listen.admin_grpc: every user of this machine can end sessions; a unix: socket is safer"
    if listen.socket_owner and not sockets:
        yield "listen.socket_owner: there is no unix: socket"
    if any(issuer.verified_by == "envoy" for issuer in settings.issuers):
        for address in listen.grpc_addresses:
            if not stays_local(address) and (listen.tls is None or listen.tls.client_ca is None):
                yield (
                    f"listen.grpc: whoever reaches {address} can be any user, since an issuer has "
                    "verified_by: envoy; set tls.client_ca"
                )


def _is_socket(address: str | None) -> bool:
    return address is not None and address.startswith("unix:")


def _resource(settings: Settings) -> Iterator[str]:
    urls = {"resource.url": settings.resource.url}
    urls |= {f"resource.aliases[{i}]": alias for i, alias in enumerate(settings.resource.aliases)}
    for name, url in urls.items():
        if url.startswith("http:") and not is_loopback_url(url):
            yield f"{name}: http:// sends tokens over the network in clear text"
        for position, issuer in enumerate(settings.issuers):
            if url not in Audiences(issuer.audiences, ignore_slash=issuer.ignore_audience_slash):
                hint = did_you_mean(url, issuer.audiences)
                path = f"issuers[{position}].audiences"
                yield f"{path}: {name} is not among them, which MCP clients ask for{hint}"
    for position, origin in enumerate(settings.allowed_origins):
        if origin.startswith("http:") and not is_loopback_url(origin):
            yield f"allowed_origins[{position}]: anybody on the way can change a page that comes over http://"
    yield from _repeated("allowed_origins", settings.allowed_origins)


def _issuers(settings: Settings) -> Iterator[str]:
    for (first, one), (second, other) in combinations(enumerate(settings.issuers), 2):
        if _plain(one.issuer) == _plain(other.issuer):
            yield (
                f"issuers[{second}].issuer: differs from issuers[{first}] only by case or a last slash; "
                "tokens are of one of them"
            )
    for position, issuer in enumerate(settings.issuers):
        yield from (f"issuers[{position}].{problem}" for problem in _issuer(issuer))


def _plain(url: str) -> str:
    return url.rstrip("/").lower()


def _issuer(issuer: Issuer) -> Iterator[str]:
    if _WELL_KNOWN in issuer.issuer:
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
        yield from _repeated(name, getattr(issuer, name))
    yield from _same_audiences(issuer)


def _scopes(settings: Settings) -> Iterator[str]:
    hierarchy = ScopeHierarchy(settings.scopes)
    required = [
        (f"issuers[{position}].required_scopes", issuer.required_scopes)
        for position, issuer in enumerate(settings.issuers)
    ]
    for section, entries in (("role_mappings", settings.role_mappings), ("ceilings", settings.ceilings)):
        required += [
            (f"{section}[{position}].require_scopes", entry.require_scopes)
            for position, entry in enumerate(entries)
        ]
    for path, scopes in required:
        if "offline_access" in scopes:
            yield f"{path}: offline_access is for refresh tokens, and not in access tokens"
        yield from _repeated(path, scopes)
        for one, other in permutations(dict.fromkeys(scopes), 2):
            if other in hierarchy.sufficient(one):
                yield f"{path}: {one} is included in {other}, so that {other} is enough"
    used = {scope for _, scopes in required for scope in scopes}
    for broad, narrow in settings.scopes.items():
        yield from _repeated(f"scopes.{broad}", narrow)
        if not any(broad in hierarchy.sufficient(scope) for scope in used):
            yield f"scopes.{broad}: includes nothing that is required{did_you_mean(narrow[0], sorted(used))}"


def notes(settings: Settings) -> list[str]:
    """Return what is as it should be, and may yet surprise."""
    none = "issuers[0].required_scopes: none, so that a 401 names no scope, and MCP clients ask at once for"
    later = any(entry.require_scopes for entry in (*settings.role_mappings, *settings.ceilings))
    if later and not any(issuer.required_scopes for issuer in settings.issuers):
        return [f"{none} all that rules require"]
    return []


def _same_audiences(issuer: Issuer) -> Iterator[str]:
    for name in ("audiences", "sts_token_audiences"):
        known: dict[str, str] = {}
        for audience in dict.fromkeys(getattr(issuer, name)):
            canonical = canonical_audience(audience, ignore_slash=issuer.ignore_audience_slash)
            first = known.setdefault(canonical, audience)
            if first is not audience:
                yield f"{name}: {audience!r} is the same as {first!r}"
    both = [*issuer.audiences, *issuer.sts_token_audiences]
    if issuer.ignore_audience_slash and all(map(_slash_counts, both)):
        yield "ignore_audience_slash: none of the audiences is a URL whose last slash could be left out"


def _slash_counts(audience: str) -> bool:
    """Whether an audience is the same with the setting as without."""
    exact = canonical_audience(audience, ignore_slash=False)
    return (
        canonical_audience(audience, ignore_slash=True) == exact
        and canonical_audience(f"{audience}/", ignore_slash=True) != exact
    )


def _targets(settings: Settings) -> Iterator[str]:
    for position, target in enumerate(settings.targets):
        yield from (f"targets[{position}].{problem}" for problem in _target(target))
    for (first, one), (second, other) in combinations(enumerate(settings.targets), 2):
        if _same_but_name(one) == _same_but_name(other):
            yield f"targets[{second}]: is the same as targets[{first}] but for name and prefix"
        for outer, inner, place in ((one, other, second), (other, one, first)):
            if outer.prefix and inner.prefix and inner.prefix.startswith(outer.prefix + "/"):
                yield f"targets[{place}].prefix: {inner.prefix} hides a part of target {outer.name}"


def _same_but_name(target: TargetSettings) -> object:
    return target.model_dump(exclude={"name", "prefix"}), target.scope


def _target(target: TargetSettings) -> Iterator[str]:
    told = infer_scope(target.host)
    if told is not None and target.region not in (None, told.region):
        yield f"region: {target.region} contradicts the host, which is in {told.region}"
    if told is not None and target.service not in (None, told.service):
        yield f"service: {target.service} contradicts the host, which signs as {told.service}"
    for name, region in (("region", target.region), ("default_aws_region", target.default_aws_region)):
        if region is not None and not _REGION.fullmatch(region):
            yield f"{name}: {region} does not look like a region"
    if target.host.endswith((":443", ":80")):
        yield "host: clients leave out the default port, so that the signature would differ"
    endpoint = urlsplit(target.endpoint_url or "")
    if endpoint.path.strip("/"):
        yield "endpoint_url: its path is not used"
    yield from _repeated("sign_headers", target.sign_headers)
    if target.payload_mode == "unsigned" and target.scope.service == "lambda":
        # https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-lambda.html
        yield "payload: Lambda does not support unsigned payloads"
    if target.payload_mode == "signed" and target.scope.service == "vpc-lattice-svcs":
        yield "payload: VPC Lattice does not support signed payloads"
    yield from _needs(target)


def _needs(target: TargetSettings) -> Iterator[str]:
    """Yield what the target's service needs and does not get, by its profile."""
    service, profile = target.scope.service, profile_of(target.scope.service)
    policy = HeaderPolicy(sign=target.sign_headers, withhold=target.withhold_headers, known=profile.known)
    lost = [name for name in profile.needs if policy.treatment(name) is Treatment.WITHHOLD]
    if lost:
        yield f"withhold_headers: {service} needs {', '.join(lost)}: without, calls fail or do something else"
    if target.aws_chunked == "refuse" and profile.needs and profile.unsigned_payload:
        yield "aws_chunked: AWS's SDKs and CLI send uploads in this coding by default, and would get 400"
    if target.aws_chunked == "decode" and profile.strict:
        yield f"aws_chunked: {service} takes no uploads"
    if target.payload_mode == "unsigned" and not profile.unsigned_payload and service != "lambda":
        yield f"payload: {service} is not known to take unsigned payloads"


def _sts(settings: Settings) -> Iterator[str]:
    sts = settings.sts
    if sts.timeout > sts.deadline:
        yield f"sts.timeout: {sts.timeout} s is longer than sts.deadline ({sts.deadline} s) and never reached"
    if sts.region is not None and not _REGION.fullmatch(sts.region):
        yield f"sts.region: {sts.region} does not look like a region"
    host = _STS_HOST.fullmatch(urlsplit(sts.endpoint_url or "").hostname or "")
    if host is not None and host["region"] != settings.sts_region:
        yield f"sts.endpoint_url: is in {host['region']}, and the region of STS is {settings.sts_region}"
    if sts.endpoint_url and urlsplit(sts.endpoint_url).path.strip("/") and is_aws_endpoint(sts.endpoint_url):
        yield "sts.endpoint_url: AWS's STS has no path"


def _partitions(settings: Settings) -> Iterator[str]:
    """Roles, targets and STS of different partitions know nothing of each other."""
    if settings.sts.endpoint_url and not is_aws_endpoint(settings.sts.endpoint_url):
        return
    region = settings.sts_region
    partition = _partition(region)
    for position, target in enumerate(settings.targets):
        if _partition(target.scope.region) != partition:
            yield (
                f"targets[{position}].region: {target.scope.region} is not in the partition of "
                f"{region}, where STS is asked"
            )
    for path, arn in _arns(settings):
        found = arn.split(":")[1]
        if found != partition:
            yield f"{path}: partition {found} is not that of {region}, where STS is asked ({partition})"


def _partition(region: str) -> str:
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


def _arns(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.fallback_role_arn:
        yield "fallback_role_arn", settings.fallback_role_arn
    for position, mapping in enumerate(settings.role_mappings):
        path = f"role_mappings[{position}]"
        if mapping.role_arn:
            yield f"{path}.role_arn", mapping.role_arn
        if mapping.chain:
            yield f"{path}.chain.role_arn", mapping.chain.role_arn
        yield from ((f"{path}.policy_arns", arn) for arn in mapping.policy_arns)
    for position, ceiling in enumerate(settings.ceilings):
        yield from ((f"ceilings[{position}].policy_arns", arn) for arn in ceiling.policy_arns)


def _names(settings: Settings) -> Iterator[str]:
    """Claims by name. A dot in one is a part of the name; providers with such names use URLs."""
    named = [("session_name_claim", settings.session_name_claim)] if settings.session_name is None else []
    if any(entry.claim for entry in (*settings.role_mappings, *settings.ceilings)):
        named.append(("role_claim", settings.role_claim))
    for path, name in named:
        if "." in name and "/" not in name and name not in (settings.claims or {}):
            yield f"{path}: {name} is the name of one claim, not a path to one inside another"


def _mappings(settings: Settings) -> Iterator[str]:
    for position, mapping in enumerate(settings.role_mappings):
        path = f"role_mappings[{position}]"
        account = (mapping.role_arn or "").split(":")[4:5]
        chain = mapping.chain
        final = {arn.split(":")[4] for arn in chain.role_arns.values()} if chain else set(account)
        for arn in mapping.policy_arns:
            # https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html (PolicyArns)
            if arn.split(":")[4] not in ("aws", *final):
                yield f"{path}.policy_arns: {arn} is not in the account of the role"
        if chain is not None:
            if mapping.role_arn in chain.role_arns.values():
                yield f"{path}.chain.role_arn: is the first role"
            yield from _repeated(f"{path}.chain.accounts", chain.accounts)


def _compared(settings: Settings) -> Iterator[str]:
    """What a rule compares with, and what is never there: deny rules would be open."""
    known = {
        ("request", "target"): [target.name for target in settings.targets],
        ("claims", "iss"): [issuer.issuer for issuer in settings.issuers],
    }
    for path, expression in expressions(settings):
        for member, values in known.items():
            for value in compared(expression.source, member):
                if value not in values:
                    yield f"{path}: {'.'.join(member)} is never {value!r}{did_you_mean(value, values)}"
        for value in compared(expression.source, ("request", "method")):
            if not _METHOD.fullmatch(value):
                yield f"{path}: request.method is never {value!r}, since methods are capital letters"


def _told(settings: Settings) -> Iterator[str]:
    """What clients read of denials: it is for people, and for those who were refused at that."""
    if settings.support and re.match(r"(?i)ask\b", settings.support):
        yield 'support: completes "ask ...", and begins with that word itself'
    for section, entries in (("role_mappings", settings.role_mappings), ("ceilings", settings.ceilings)):
        for position, entry in enumerate(entries):
            if entry.message and "arn:" in entry.message:
                yield f"{section}[{position}].message: tells whoever is refused the name of something at AWS"


def _others(settings: Settings) -> Iterator[str]:
    output = settings.audit.output
    if output not in (None, "-") and not _writable(Path(output)):
        yield f"audit.output: {output} cannot be written here"
    limits = settings.limits
    if limits.mcp_body_bytes > limits.request_body_bytes:
        yield "limits.mcp_body_bytes: is larger than limits.request_body_bytes, which comes first"
    if settings.cache.margin * 2 > min(_durations(settings)):
        yield f"cache.margin: {settings.cache.margin:.0f} s is more than half of a session's duration"


def _durations(settings: Settings) -> list[int]:
    return [
        settings.session_duration,
        *(entry.session_duration or 43_200 for entry in settings.role_mappings),
    ]


def _writable(path: Path) -> bool:
    if path.exists():
        return not path.is_dir() and os.access(path, os.W_OK)
    return path.parent.is_dir() and os.access(path.parent, os.W_OK)


def _repeated(path: str, values: Iterable[str]) -> Iterator[str]:
    values = list(values)
    for value in sorted({value for value in values if values.count(value) > 1}):
        yield f"{path}: {value!r} is there twice"
