"""Role chaining in the STS emulator: AssumeRole with credentials that the emulator has issued.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining

Checked: the signature, the trust policy of the second role, and the hour that AWS allows such sessions.
Transitive tags and the source identity go on. Not checked: whether a policy of the first role allows it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from starlette.requests import Request

from extproc.demo.sigv4_request import ReceivedRequest, SignatureRejected, parse_authorization
from extproc.demo.sigv4_verifier import Endpoint, KnownCredential, verify
from extproc.demo.sts_session_claims import SessionClaims
from extproc.demo.sts_trust import Context, TrustDocument
from extproc.demo.sts_wire import AssumeRoleRequest, RoleArn, StsError

MAX_CHAINED_DURATION: Final = 3600  # seconds


@dataclass(frozen=True, slots=True)
class FirstSession:
    """The session whose credentials signed the call."""

    role: RoleArn
    session: SessionClaims


def verified_key_id(request: Request, body: bytes, *, lookup: Callable[[str], KnownCredential | None]) -> str:
    """Return the key id of the credentials that signed a call; ``lookup`` finds issued credentials.

    Raises:
        StsError: the call is not signed, or not with issued credentials that are still valid.
    """
    received = ReceivedRequest(
        method=request.method,
        raw_path=request.scope["raw_path"],
        raw_query=request.scope["query_string"],
        headers=tuple(request.scope["headers"]),
        body=body,
    )
    try:
        region = parse_authorization(received).region
        endpoint = Endpoint(host=request.headers.get("host", ""), region=region, service="sts")
        return verify(received, endpoint=endpoint, lookup=lookup, now=datetime.now(UTC)).access_key_id
    except SignatureRejected as rejected:
        raise StsError(rejected.code, rejected.message, HTTPStatus.FORBIDDEN) from None


def chained_session(first: FirstSession, wanted: AssumeRoleRequest, policy: object) -> SessionClaims:
    """Return what the second session takes over of the first.

    ``policy``: the trust policy of the second role, if there is such a role. Only whole ones name roles.

    Raises:
        StsError: the trust policy does not admit the first role, or the duration is too long.
    """
    session = SessionClaims(
        tags={key: first.session.tags[key] for key in first.session.transitive},
        transitive=first.session.transitive,
        source_identity=first.session.source_identity,
    )
    context = _context(wanted, session)
    for action in _actions(session):
        if not isinstance(policy, TrustDocument) or not policy.permits_role(action, first.role.text, context):
            message = f"User is not authorized to perform: {action} on resource: {wanted.role.text}"
            raise StsError("AccessDenied", message, HTTPStatus.FORBIDDEN)
    if wanted.duration > MAX_CHAINED_DURATION:
        limit = "exceeds the 1 hour session limit for roles assumed by role chaining"
        raise StsError("ValidationError", f"The requested DurationSeconds {limit}")
    return session


def _context(wanted: AssumeRoleRequest, session: SessionClaims) -> Context:
    context = {
        "sts:rolesessionname": (wanted.session_name,),
        **{f"aws:requesttag/{name.lower()}": (value,) for name, value in session.tags.items()},
    }
    if wanted.external_id is not None:
        context["sts:externalid"] = (wanted.external_id,)
    if session.source_identity:
        context["sts:sourceidentity"] = (session.source_identity,)
    return context


def _actions(session: SessionClaims) -> list[str]:
    """Return the actions that the trust policy must allow."""
    tagging = ["sts:TagSession"] if session.tags else []
    return ["sts:AssumeRole", *tagging, *(["sts:SetSourceIdentity"] if session.source_identity else [])]
