"""Session policies as STS accepts them, validated when the configuration loads.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
(PolicyArns, Policy). Not checked: the size of the binary form into which STS packs them with the
session tags. It cannot be computed beforehand; STS answers PackedPolicyTooLarge.
"""

import json
import re
from dataclasses import dataclass

from extproc import strictjson

MAX_ARNS = 10
MAX_CHARACTERS = 2048  # of the inline policy and the ARNs together
_POLICY_ARN = re.compile(
    r"arn:aws(?:-[a-z]+)*:iam::(?:aws|\d{12}):policy/(?:[\x21-\x2e\x30-\x7e]+/)*[\w+=,.@-]{1,128}", re.ASCII
)
_CHARACTERS = re.compile("[\t\n\r\x20-\xff]+")


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """Restrictions of a session in addition to the role's own policies; empty for none."""

    policy_arns: tuple[str, ...] = ()
    policy: str | None = None

    def __bool__(self) -> bool:
        return bool(self.policy_arns) or self.policy is not None


UNRESTRICTED = SessionPolicy()


def validate_policy_arn(arn: str) -> str:
    """Return the ARN of a managed policy; raises ``ValueError`` for any other string."""
    if not _POLICY_ARN.fullmatch(arn):
        raise ValueError("not the ARN of a managed policy (arn:aws:iam::aws:policy/NAME)")
    return arn


def validate_policy(text: str) -> str:
    """Return an inline policy without white space between its tokens.

    Raises:
        ValueError: it is not a policy document, or has characters that STS refuses.
    """
    try:
        document = strictjson.loads_object(text.encode("utf-8", "replace"))
    except strictjson.AmbiguousJSONError as error:
        raise ValueError(f"policy: {error}") from None
    if document.get("Version") != "2012-10-17" or not document.get("Statement"):
        raise ValueError('policy: needs "Version": "2012-10-17" and a "Statement"')
    compact = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    if not _CHARACTERS.fullmatch(compact):
        raise ValueError("policy: STS takes characters up to U+00FF only")
    return compact


def session_policy(policy_arns: list[str], policy: str | None) -> SessionPolicy:
    """Return the session policy of managed policies and an inline policy.

    Raises:
        ValueError: more or larger policies than STS accepts.
    """
    if len(set(policy_arns)) != len(policy_arns):
        raise ValueError("policy_arns: an ARN is listed twice")
    if len(policy_arns) > MAX_ARNS:
        raise ValueError(f"policy_arns: STS takes at most {MAX_ARNS}")
    size = len(policy or "") + sum(map(len, policy_arns))
    if size > MAX_CHARACTERS:
        raise ValueError(f"policy and policy_arns: {size} characters together; STS takes {MAX_CHARACTERS}")
    return SessionPolicy(tuple(policy_arns), policy)
