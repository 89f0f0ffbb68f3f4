"""The STS query protocol: parses both ways to assume a role, and renders AWS's XML.

The limits are those of the published service model (API version 2011-06-15).
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

API_VERSION: Final = "2011-06-15"
WEB_IDENTITY: Final = "AssumeRoleWithWebIdentity"
ASSUME_ROLE: Final = "AssumeRole"
NAMESPACE: Final = f"https://sts.amazonaws.com/doc/{API_VERSION}/"
DEFAULT_DURATION: Final = 3600  # seconds
MAX_POLICY: Final = 2048  # characters, inline policy and policy ARNs together
MAX_POLICY_ARNS: Final = 10
MAX_SESSION_TOKEN_SIZE: Final = 4096

_ROLE_ARN: Final = re.compile(
    r"arn:(aws[a-z-]*):iam::([0-9]{12}):role/((?:[!-~]+/)?)([\w+=,.@-]{1,64})", re.ASCII
)
_SESSION_NAME: Final = re.compile(r"[\w+=,.@-]*", re.ASCII)
_POLICY: Final = re.compile(r"[\x09\x0A\x0D\x20-\xFF]+")
_POLICY_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/[!-~]+", re.ASCII)
_POLICY_ARN_NAME: Final = re.compile(r"PolicyArns\.member\.([0-9]{1,3})\.arn", re.ASCII)
# Characters XML 1.0 cannot hold even when escaped.
_NOT_XML: Final = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")

Xml = str | Mapping[str, "Xml"]


class StsError(Exception):
    """An error answer of STS: ``code`` as on the wire, HTTP ``status``, and a sentence."""

    def __init__(self, code: str, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = int(status)


@dataclass(frozen=True, slots=True)
class RoleArn:
    """The parts of an IAM role's ARN; ``name`` is without the path."""

    text: str
    partition: str
    account: str
    name: str


@dataclass(frozen=True, slots=True)
class AssumeRoleRequest:
    """One call of AssumeRoleWithWebIdentity or AssumeRole whose parameters are within their limits.

    ``unverified_token`` is not parsed, and empty for AssumeRole; ``duration`` is in seconds, and not yet
    compared to the role's.
    """

    role: RoleArn
    session_name: str
    unverified_token: str = field(repr=False)
    duration: int
    policy: str | None
    policy_arns: tuple[str, ...]
    session_token_size: int
    action: str = WEB_IDENTITY
    external_id: str | None = None


def parse_assume_role(form: Mapping[str, str]) -> AssumeRoleRequest:
    """Check all parameters of a call and return them.

    Raises:
        StsError: ``ValidationError`` for a parameter outside its limits, ``InvalidAction`` for another call,
            ``PackedPolicyTooLarge`` and ``MalformedPolicyDocument`` for session policies.
    """
    action = form.get("Action", "")
    if action not in (WEB_IDENTITY, ASSUME_ROLE) or form.get("Version") != API_VERSION:
        raise StsError("InvalidAction", "Could not find operation for the given Action and Version")
    if "ProviderId" in form:
        raise _invalid("ProviderId", "must not be given for an OpenID Connect provider")
    role = _role(_text(form, "RoleArn", 20, 2048))
    session_name = _text(form, "RoleSessionName", 2, 64)
    if _SESSION_NAME.fullmatch(session_name) is None:
        raise _invalid("RoleSessionName", r"must satisfy regular expression pattern: [\w+=,.@-]*")
    policy_arns = _policy_arns(form, role)
    policy = _policy(form, policy_arns)
    return AssumeRoleRequest(
        role=role,
        session_name=session_name,
        unverified_token=_text(form, "WebIdentityToken", 4, 20000) if action == WEB_IDENTITY else "",
        duration=_number(form, "DurationSeconds", 900, 43200, DEFAULT_DURATION),
        policy=policy,
        policy_arns=policy_arns,
        session_token_size=_number(form, "MinimumSessionTokenSize", 0, MAX_SESSION_TOKEN_SIZE, 0),
        action=action,
        external_id=_text(form, "ExternalId", 2, 1224) if "ExternalId" in form else None,
    )


def success_response(result: Mapping[str, Xml], *, request_id: str, action: str = WEB_IDENTITY) -> Response:
    """Return the response for the result of a call."""
    body: Xml = {f"{action}Result": result, "ResponseMetadata": {"RequestId": request_id}}
    return _xml(f"{action}Response", body, HTTPStatus.OK, request_id)


def error_response(error: StsError, *, request_id: str) -> Response:
    """Return the response for an error; ``Receiver`` for 5xx, else ``Sender``."""
    fault = "Receiver" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "Sender"
    body: Xml = {
        "Error": {"Type": fault, "Code": error.code, "Message": error.message},
        "RequestId": request_id,
    }
    return _xml("ErrorResponse", body, error.status, request_id)


def with_aws_headers(response: Response, *, request_id: str) -> Response:
    """Add the headers of every AWS response."""
    response.headers["x-amzn-requestid"] = request_id
    response.headers["date"] = format_datetime(datetime.now(UTC), usegmt=True)
    return response


def _xml(root: str, body: Xml, status: int, request_id: str) -> Response:
    text = f'<{root} xmlns="{NAMESPACE}">{_render(body)}</{root}>\n'
    response = Response(text, status_code=status, media_type="text/xml")
    return with_aws_headers(response, request_id=request_id)


def _render(value: Xml) -> str:
    if isinstance(value, str):
        return html.escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value), quote=False)
    return "".join(f"<{name}>{_render(child)}</{name}>" for name, child in value.items())


def _invalid(name: str, constraint: str) -> StsError:
    # Unlike AWS's message, this one does not quote the value: it may be a token.
    label = name[0].lower() + name[1:]
    message = (
        f"1 validation error detected: Value at '{label}' failed to satisfy constraint: Member {constraint}"
    )
    return StsError("ValidationError", message)


def _text(form: Mapping[str, str], name: str, minimum: int, maximum: int) -> str:
    value = form.get(name)
    if value is None:
        raise _invalid(name, "must not be null")
    if len(value) < minimum:
        raise _invalid(name, f"must have length greater than or equal to {minimum}")
    if len(value) > maximum:
        raise _invalid(name, f"must have length less than or equal to {maximum}")
    return value


def _number(form: Mapping[str, str], name: str, minimum: int, maximum: int, default: int) -> int:
    text = form.get(name)
    if text is None:
        return default
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) is None:
        raise StsError("MalformedInput", f"{name} is not a number")
    value = int(text)
    if value < minimum:
        raise _invalid(name, f"must have value greater than or equal to {minimum}")
    if value > maximum:
        raise _invalid(name, f"must have value less than or equal to {maximum}")
    return value


def _role(text: str) -> RoleArn:
    match = _ROLE_ARN.fullmatch(text)
    if match is None:
        raise StsError("ValidationError", "Request ARN is invalid")
    return RoleArn(text=text, partition=match[1], account=match[2], name=match[4])


def _policy_arns(form: Mapping[str, str], role: RoleArn) -> tuple[str, ...]:
    numbered: dict[int, str] = {}
    for name, value in form.items():
        match = _POLICY_ARN_NAME.fullmatch(name)
        if match is not None:
            numbered[int(match[1])] = value
    if len(numbered) > MAX_POLICY_ARNS:
        raise _invalid("PolicyArns", f"must have length less than or equal to {MAX_POLICY_ARNS}")
    arns = tuple(numbered[number] for number in sorted(numbered))
    for arn in arns:
        match = _POLICY_ARN.fullmatch(arn)
        if match is None or match[1] not in ("aws", role.account):
            raise StsError("ValidationError", "A policy ARN is invalid or of another account than the role")
    return arns


def _policy(form: Mapping[str, str], policy_arns: Sequence[str]) -> str | None:
    if "Policy" not in form:
        return None
    policy = _text(form, "Policy", 1, MAX_POLICY)
    if _POLICY.fullmatch(policy) is None:
        raise _invalid(
            "Policy", r"must satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u00FF]+"
        )
    if len(policy) + sum(map(len, policy_arns)) > MAX_POLICY:
        raise StsError("PackedPolicyTooLarge", "Packed policy consumes more than 100% of allotted space")
    try:
        document = json.loads(policy)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or "Statement" not in document:
        raise StsError("MalformedPolicyDocument", "Syntax errors in policy.")
    return policy
