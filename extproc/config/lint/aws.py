"""Warnings about STS and roles: regions, partitions and accounts that do not fit together."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from extproc.config.fields import repetitions
from extproc.config.settings import Settings
from extproc.policy.arn import is_aws_endpoint
from extproc.signing.hosts import REGION

_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "eusc-": "aws-eusc",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
}
"""Partitions by the prefix of a region's name, from botocore's endpoint rules; others are in ``aws``."""
_STS_HOST = re.compile(r"(?:.+\.)?sts\.(?P<region>[a-z0-9-]+)\.(?:vpce\.)?(?:amazonaws|api)\..+")


def sts_warnings(settings: Settings) -> Iterator[str]:
    """Yield time limits that are never reached, odd regions and endpoints of another region."""
    sts = settings.sts
    if sts.timeout > sts.deadline:
        yield f"sts.timeout: {sts.timeout} s is longer than sts.deadline ({sts.deadline} s) and never reached"
    if sts.region is not None and not re.fullmatch(REGION, sts.region):
        yield f"sts.region: {sts.region} does not look like a region"
    host = _STS_HOST.fullmatch(urlsplit(sts.endpoint_url or "").hostname or "")
    if host is not None and host["region"] != settings.sts_region:
        yield f"sts.endpoint_url: is in {host['region']}, and the region of STS is {settings.sts_region}"
    if sts.endpoint_url and urlsplit(sts.endpoint_url).path.strip("/") and is_aws_endpoint(sts.endpoint_url):
        yield "sts.endpoint_url: AWS's STS has no path"


def partition_warnings(settings: Settings) -> Iterator[str]:
    """Yield roles and targets outside the partition of STS: partitions share no credentials."""
    if settings.sts.endpoint_url and not is_aws_endpoint(settings.sts.endpoint_url):
        return
    region = settings.sts_region
    partition = _partition(region)
    for position, target in enumerate(settings.targets):
        if _partition(target.scope.region) != partition:
            yield f"targets[{position}].region: {target.scope.region} is not in STS's partition ({region})"
    for path, found in dict.fromkeys((path, arn.split(":")[1]) for path, arn in _arns(settings)):
        if found != partition:
            yield f"{path}: partition {found} is not that of STS: {partition} ({region})"


def account_warnings(settings: Settings) -> Iterator[str]:
    """Yield session policies of another account and chains that lead nowhere new."""
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
            yield from repetitions(f"{path}.chain.accounts", chain.accounts)


def _partition(region: str) -> str:
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


def _arns(settings: Settings) -> Iterator[tuple[str, str]]:
    yield from settings.role_arns()
    for path, rule in settings.rules():
        yield from ((f"{path}.policy_arns", arn) for arn in rule.policy_arns)
