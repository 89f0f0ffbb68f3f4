"""Warnings about ``targets``."""

import re
from collections.abc import Iterator
from itertools import combinations
from urllib.parse import urlsplit

from extproc.config.expressions import expressions
from extproc.config.fields import repetitions
from extproc.config.settings import Settings
from extproc.config.targets import TargetSettings
from extproc.signing.headers import HeaderPolicy, Treatment
from extproc.signing.hosts import REGION, infer_scope
from extproc.signing.profiles import profile_of


def target_warnings(settings: Settings) -> Iterator[str]:
    """Yield targets whose settings contradict each other, the host or the service."""
    for position, target in enumerate(settings.targets):
        yield from (f"targets[{position}].{problem}" for problem in _target(target))
    for (first, one), (second, other) in combinations(enumerate(settings.targets), 2):
        if _same_but_name(one) == _same_but_name(other):
            yield f"targets[{second}]: is the same as targets[{first}] but for name and prefix"
        for outer, inner, place in ((one, other, second), (other, one, first)):
            if outer.prefix and inner.prefix and inner.prefix.startswith(outer.prefix + "/"):
                yield f"targets[{place}].prefix: {inner.prefix} hides a part of target {outer.name}"


def filter_warnings(settings: Settings) -> Iterator[str]:
    """Yield targets whose lists of tools lose nothing."""
    reads = {path[0] for _, expression in expressions(settings) for path in expression.reads}
    for position, target in enumerate(settings.targets):
        if target.filter_tools_list and target.mcp is False:
            yield f"targets[{position}].filter_tools_list: rules read no messages with mcp: false"
        elif target.filter_tools_list and "mcp" not in reads:
            yield f"targets[{position}].filter_tools_list: no rule reads mcp, so that no tool is left out"


def _same_but_name(target: TargetSettings) -> object:
    return target.model_dump(exclude={"name", "prefix"}), target.scope


def _target(target: TargetSettings) -> Iterator[str]:
    inferred = infer_scope(target.host)
    if inferred is not None and target.region not in (None, inferred.region):
        yield f"region: {target.region} contradicts the host, which is in {inferred.region}"
    if inferred is not None and target.service not in (None, inferred.service):
        yield f"service: {target.service} contradicts the host, which signs as {inferred.service}"
    for name, region in (("region", target.region), ("default_aws_region", target.default_aws_region)):
        if region is not None and not re.fullmatch(REGION, region):
            yield f"{name}: {region} does not look like a region"
    if target.host.endswith((":443", ":80")):
        yield "host: clients leave out the default port, so that the signature would differ"
    endpoint = urlsplit(target.endpoint_url or "")
    if endpoint.path.strip("/"):
        yield "endpoint_url: its path is not used"
    yield from repetitions("sign_headers", target.sign_headers)
    if target.payload_mode == "unsigned" and target.scope.service == "lambda":
        # https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-lambda.html
        yield "payload: Lambda does not support unsigned payloads"
    if target.payload_mode == "signed" and target.scope.service == "vpc-lattice-svcs":
        yield "payload: VPC Lattice does not support signed payloads"
    yield from _needs(target)


def _needs(target: TargetSettings) -> Iterator[str]:
    """Yield what the profile of the target's service needs and the settings prevent."""
    service, profile = target.scope.service, profile_of(target.scope.service)
    policy = HeaderPolicy(sign=target.sign_headers, withhold=target.withhold_headers, known=profile.known)
    lost = [name for name in profile.needs if policy.treatment(name) is Treatment.WITHHOLD]
    if lost:
        yield f"withhold_headers: {service} needs {', '.join(lost)}: without, calls fail or do something else"
    if target.aws_chunked == "refuse" and profile.needs and profile.unsigned_payload:
        yield "aws_chunked: AWS's SDKs and CLI send uploads in this coding by default, and would get 400"
    if target.aws_chunked == "decode" and profile.strict:
        yield f"aws_chunked: {service} accepts no uploads"
    if target.payload_mode == "unsigned" and not profile.unsigned_payload and service != "lambda":
        yield f"payload: {service} is not known to accept unsigned payloads"
