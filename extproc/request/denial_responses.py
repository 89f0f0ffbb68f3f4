"""The response to a denied request: status, WWW-Authenticate and other headers, and the body.

The body is an OAuth error or, for MCP messages, a JSON-RPC error.

MCP clients show a JSON-RPC error and hardly ever another body. Its code is 10000 and the HTTP status, outside
the range that JSON-RPC and MCP reserve; errors in a message itself have MCP's codes.
https://modelcontextprotocol.io/specification/2026-07-28/basic#error-codes
"""

import json
from collections.abc import Mapping
from typing import Any

from extproc.authn.challenge import ProtectedResource
from extproc.authn.origin import Origins
from extproc.errors import Denied, Outcome, Reason
from extproc.policy.mcp_envelope import UNKNOWN, Envelope
from extproc.values import ImmediateResponse, RequestHead

_BASE = (("content-type", "application/json"), ("cache-control", "no-store"))
ANYBODY = "the operator of this gateway"
_UNAUTHENTICATED = 401  # RFC 9110 15.5.2: comes with a challenge
_SERVER_ERRORS = 500
_OK = 200
# Of codes without one of MCP's. Not the status alone: clients of the TypeScript SDK find both in `code`, and
# take a JSON-RPC error 403 for an HTTP 403, which asks for a login.
RPC_BASE = 10_000
_TOOL_CALL = "tools/call"


def shown_text(body: bytes) -> str:
    """Return what a person reads of a reply's body, in whichever form it is."""
    reply = json.loads(body)
    if "result" in reply:
        return str(reply["result"]["content"][0]["text"])
    return str(reply["error"]["message"] if "jsonrpc" in reply else reply["error_description"])


class DenialResponses:
    """Writes the responses to denied requests under one configuration.

    Args:
        resource: writes challenges.
        origins: lets pages of allowed origins read the reply.
        support: who clients are advised to ask where only an operator can help.
        tell_with_200: whether MCP requests that policy, AWS or a limit refuses get HTTP status 200.
    """

    def __init__(
        self,
        *,
        resource: ProtectedResource,
        origins: Origins,
        support: str | None = None,
        tell_with_200: bool = False,
    ) -> None:
        self._resource = resource
        self._origins = origins
        self._support = support or ANYBODY
        self._tell_with_200 = tell_with_200

    def reply(
        self,
        denied: Denied,
        head: RequestHead | None,
        *,
        request_id: str | None = None,
        message: Envelope | None = None,
    ) -> ImmediateResponse:
        """Return the reply to a refused request.

        Args:
            denied: why it is refused.
            head: the request's head, as far as there is one.
            request_id: what operators find it by.
            message: the MCP message that is answered; ``UNKNOWN`` if it did not come; None if the request is
                not one of MCP's.
        """
        outcome = denied.reason.outcome
        text = self.text(denied)
        plain: dict[str, Any] = {"error_description": text, "request_id": request_id}
        if outcome.error is not None:
            plain = {"error": outcome.error, **plain}
        headers = [*_BASE, *self._origins.response_headers(head)]
        if outcome.status == _UNAUTHENTICATED or denied.reason is Reason.SCOPE_MISSING:
            authority = head.authority if head is not None else ""
            challenge = self._resource.challenge(denied.reason, denied.scopes, authority=authority)
            headers.append(("www-authenticate", challenge))
        if outcome.retry_after is not None:
            headers.append(("retry-after", str(denied.retry_after or outcome.retry_after)))
        status, body = outcome.status, plain
        if message is None and outcome.rpc_code is not None:
            message = UNKNOWN
        if message is not None:
            shown = self._with_request_id(outcome, text, request_id)
            status, body = self._of_mcp(denied, message, shown, plain)
        return ImmediateResponse(status, tuple(headers), f"{json.dumps(body)}\n".encode(), denied.reason)

    def text(self, denied: Denied) -> str:
        """Return the text for clients: by reason, with who to ask where nothing else helps."""
        if denied.message:
            return denied.message
        outcome = denied.reason.outcome
        text = denied.client_text or outcome.text
        return f"{text.removesuffix('.')}; ask {self._support}." if outcome.ask else text

    def _of_mcp(
        self, denied: Denied, message: Envelope, text: str, plain: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Return status and body for a client that posted an MCP message.

        Without an id a client could not tell to which of its requests a 200 belongs.
        """
        outcome = denied.reason.outcome
        # Absent where there is none: no revision of MCP lets it be null.
        answer: dict[str, Any] = {"jsonrpc": "2.0"}
        if message.id is not None:
            answer["id"] = message.id
        told_with_200 = self._tell_with_200 and message.id is not None and outcome.allows_200
        if told_with_200 and message.method == _TOOL_CALL:
            answer["result"] = {
                "resultType": "complete",
                "content": [{"type": "text", "text": text}],
                "isError": True,
            }
        else:
            data = {**plain, **denied.data}
            answer["error"] = {
                "code": outcome.rpc_code or RPC_BASE + outcome.status,
                "message": text,
                "data": data,
            }
        return _OK if told_with_200 else outcome.status, answer

    @staticmethod
    def _with_request_id(outcome: Outcome, text: str, request_id: str | None) -> str:
        """Add the request id where an operator will need it: clients show the message and no data."""
        if request_id is None or not (outcome.ask or outcome.status >= _SERVER_ERRORS):
            return text
        return f"{text} (request {request_id})"
