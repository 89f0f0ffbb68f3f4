"""Checks targets: a signed call of each MCP target, of a tool that does not exist."""

import asyncio
import ssl
import time
from functools import partial
from urllib.parse import urlsplit

from extproc.app.factories import build_target
from extproc.authn.own_thread import in_own_thread
from extproc.doctor.examination import Endpoint, Examination
from extproc.doctor.finding import Finding, failed, passed, skipped, warned
from extproc.signing.rejections import Cause, UpstreamResponse, rejection
from extproc.signing.signer import Signer
from extproc.signing.sigv4 import UNSIGNED_PAYLOAD, payload_hash
from extproc.signing.targets import Target
from extproc.sts.https import HttpAnswer, HttpError, HttpOrigin
from extproc.values import Credentials

_TIMEOUT = 10.0  # seconds
# The AWS MCP Server verifies signatures of tools/call alone, and there is no such tool to have an effect.
_BODY = (
    b'{"jsonrpc":"2.0","id":"doctor","method":"tools/call","params":{"name":"extproc-doctor","arguments":{}}}'
)
_SIGNED = (("content-type", "application/json"),)
_UNSIGNED = {"accept": "application/json, text/event-stream"}
_NOT_FOUND, _SERVER_ERROR = 404, 500
_REFUSED = (401, 403)
_NEXT = {
    Cause.CREDENTIALS: "compare the partition and the account of STS with those of the target",
    Cause.CLOCK: "synchronise the clock",
    Cause.REGION: "correct the target's region",
    Cause.SERVICE: "correct the target's service",
}


async def call(examination: Examination) -> list[Finding]:
    """Send each MCP target a signed call, directly from here."""
    endpoints = [each for each in examination.endpoints if each.setting.startswith("targets[")]
    targets = [build_target(target) for target in examination.settings.targets]
    return list(
        await asyncio.gather(*(_call(examination, *each) for each in zip(targets, endpoints, strict=True)))
    )


async def _call(examination: Examination, target: Target, endpoint: Endpoint) -> Finding:
    credentials = examination.credentials
    if credentials is None:
        return skipped(endpoint.subject, "no credentials")
    earlier = examination.broken.get(endpoint.url)
    if earlier is not None:
        return skipped(endpoint.subject, f"see {earlier}")
    if not target.takes_mcp:
        return skipped(endpoint.subject, "a harmless call is known for MCP targets only")
    path = target.strip_prefix(urlsplit(examination.settings.resource.url).path or "/")
    headers = _headers(examination, target, credentials, path)
    send = partial(_send, endpoint, path, headers)
    try:
        answer = await in_own_thread(send, name="doctor")
    except HttpError as error:
        return failed(endpoint.subject, f"no usable answer: {error}", "run the doctor where Envoy runs")
    return _finding(endpoint.subject, target, answer)


def _headers(examination: Examination, target: Target, credentials: Credentials, path: str) -> dict[str, str]:
    signed = Signer(examination.aws_clock).sign(
        method="POST",
        path=path,
        query="",
        clients=_SIGNED,
        target=target,
        credentials=credentials,
        payload=UNSIGNED_PAYLOAD if target.payload == "unsigned" else payload_hash(_BODY),
    )
    return {"host": target.host, **_UNSIGNED, **dict(_SIGNED), **dict(signed.headers)}


def _send(endpoint: Endpoint, path: str, headers: dict[str, str]) -> HttpAnswer:
    origin = HttpOrigin(endpoint.url, max_idle=0, tls=ssl.create_default_context)
    return origin.post(path, headers, _BODY, until=time.monotonic() + _TIMEOUT)


def _finding(subject: str, target: Target, answer: HttpAnswer) -> Finding:
    names = {name.lower(): value for name, value in answer.headers}
    error_type = names.get("x-amzn-errortype")
    response = UpstreamResponse(answer.status, error_type.partition(":")[0] if error_type else None)
    refused = rejection(response, answer.body)
    seen = f"HTTP {answer.status}"
    if refused is not None:
        scope = f"{target.scope.service} in {target.scope.region}"
        detail = f"{seen} {refused.code}: the signature for {scope} is refused ({refused.cause})"
        compare = "compare with `extproc sign --compare`; something between here and AWS may change requests"
        return failed(subject, detail, _NEXT.get(refused.cause, compare))
    if answer.status in _REFUSED:
        return failed(
            subject,
            f"{seen}: AWS accepts the signature and refuses the call",
            "give the role permission for it",
        )
    if answer.status == _NOT_FOUND or answer.status >= _SERVER_ERROR:
        return warned(
            subject, seen, "compare the path of resource.url with the target's; AWS may also be unwell"
        )
    return passed(subject, f"{seen}: the signature is not refused")
