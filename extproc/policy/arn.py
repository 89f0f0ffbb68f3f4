"""Role ARNs: those of AWS (IAM User Guide, "IAM identifiers") and of similar services."""

import re
from urllib.parse import urlsplit

MIN_LENGTH = 20  # STS's limits for RoleArn; botocore checks the lower one before it sends a request
MAX_LENGTH = 2048
_NAME = r"(?:[\x21-\x2e\x30-\x7e]+/)*[\w+=,.@-]{1,64}"
_ROLE_ARN = re.compile(rf"arn:aws(?:-[a-z]+)*:iam::\d{{12}}:role/{_NAME}", re.ASCII)
_FOREIGN_ROLE_ARN = re.compile(
    rf"arn:[a-z][a-z0-9-]{{0,30}}:iam:[a-z0-9-]{{0,40}}:(?:[\w.$-]{{0,64}}:)?role/{_NAME}", re.ASCII
)
"""MinIO has its own partition and may have a region; Ceph has no account, or the name of a tenant or account;
SeaweedFS has no account field."""

# The DNS suffixes of AWS's partitions, from the endpoint rules that botocore ships.
_AWS_SUFFIXES = (
    ".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws", ".api.amazonwebservices.com.cn",
    ".api.amazonwebservices.eu", ".c2s.ic.gov", ".sc2s.sgov.gov", ".cloud.adc-e.uk", ".csp.hci.ic.gov",
)  # fmt: skip


def validate_role_arn(arn: str) -> str:
    """Return the ARN of a role of AWS IAM.

    Raises:
        ValueError: any other string.
    """
    if len(arn) > MAX_LENGTH or not _ROLE_ARN.fullmatch(arn):
        raise ValueError("not the ARN of an IAM role (arn:aws:iam::123456789012:role/NAME)")
    return arn


def validate_any_role_arn(arn: str) -> str:
    """Return the ARN of a role of AWS IAM or of a similar service.

    Examples: ``arn:minio:iam:::role/ID`` (MinIO), ``arn:aws:iam:::role/NAME`` (Ceph). Not checked: whether
    the configured STS knows such roles.

    Raises:
        ValueError: any other string.
    """
    if not MIN_LENGTH <= len(arn) <= MAX_LENGTH or not _FOREIGN_ROLE_ARN.fullmatch(arn):
        return validate_role_arn(arn)
    return arn


def is_aws_endpoint(url: str) -> bool:
    """Return whether a URL leads to AWS, including its VPC endpoints."""
    return (urlsplit(url).hostname or "").rstrip(".").endswith(_AWS_SUFFIXES)
