"""Role ARNs: AWS's own (IAM User Guide, "IAM identifiers"), and those of services that resemble it."""

import re
from urllib.parse import urlsplit

MIN_LENGTH = 20  # STS's limits for RoleArn; botocore checks the lower one before it sends anything
MAX_LENGTH = 2048
_NAME = r"(?:[\x21-\x2e\x30-\x7e]+/)*[\w+=,.@-]{1,64}"
_ROLE_ARN = re.compile(rf"arn:aws(?:-[a-z]+)*:iam::\d{{12}}:role/{_NAME}", re.ASCII)
_FOREIGN_ROLE_ARN = re.compile(
    rf"arn:[a-z][a-z0-9-]{{0,30}}:iam:[a-z0-9-]{{0,40}}:(?:[\w.$-]{{0,64}}:)?role/{_NAME}", re.ASCII
)
"""MinIO names itself as the partition and may name a region; Ceph has no account, or a tenant or account
name of letters; SeaweedFS has no field for the account."""

# The DNS suffixes of AWS's partitions, from the endpoint rules that botocore ships.
_AWS_SUFFIXES = (
    ".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws", ".api.amazonwebservices.com.cn",
    ".api.amazonwebservices.eu", ".c2s.ic.gov", ".sc2s.sgov.gov", ".cloud.adc-e.uk", ".csp.hci.ic.gov",
)  # fmt: skip


def validate_role_arn(arn: str) -> str:
    """Return the ARN if it names a role of AWS IAM.

    Raises:
        ValueError: it does not.
    """
    if len(arn) > MAX_LENGTH or not _ROLE_ARN.fullmatch(arn):
        raise ValueError("not the ARN of an IAM role (arn:aws:iam::123456789012:role/NAME)")
    return arn


def validate_any_role_arn(arn: str) -> str:
    """Return the ARN if it names a role, of AWS IAM or of a service that resembles it.

    Examples: ``arn:minio:iam:::role/ID`` (MinIO), ``arn:aws:iam:::role/NAME`` (Ceph). Whether such a role
    can be assumed is for the STS that is configured to say.

    Raises:
        ValueError: it does not.
    """
    if not MIN_LENGTH <= len(arn) <= MAX_LENGTH or not _FOREIGN_ROLE_ARN.fullmatch(arn):
        return validate_role_arn(arn)
    return arn


def is_aws_endpoint(url: str) -> bool:
    """Return whether a URL leads to AWS itself, VPC endpoints included."""
    return (urlsplit(url).hostname or "").rstrip(".").endswith(_AWS_SUFFIXES)
