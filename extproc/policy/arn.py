"""Role ARNs of all partitions, with paths (IAM User Guide, "IAM identifiers")."""

import re

MAX_LENGTH = 2048  # STS's limit for RoleArn
_ROLE_ARN = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z]+)*):iam::(?P<account>\d{12}):role/"
    r"(?:[\x21-\x2e\x30-\x7e]+/)*[\w+=,.@-]{1,64}",
    re.ASCII,
)


def validate_role_arn(arn: str) -> str:
    """Return the ARN if it names an IAM role.

    Raises:
        ValueError: it does not.
    """
    if len(arn) > MAX_LENGTH or not _ROLE_ARN.fullmatch(arn):
        raise ValueError("not the ARN of an IAM role (arn:aws:iam::123456789012:role/NAME)")
    return arn
