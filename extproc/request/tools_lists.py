"""Answers to ``tools/list`` have only tools that the caller may call, if a target has ``filter_tools_list``.

Part of a pipeline only if some target wants it and rules read the MCP message: others pay nothing for it.

Envoy shows a response only if the answer to the request's head says so, and the method is in the body. So the
head of each response to a message for such a target is shown. Bodies are for ``tools/list`` only, as a whole
and before the client gets any of it. What cannot be filtered becomes a JSON-RPC error, and never passes.
"""

import json
from dataclasses import dataclass
from functools import partial

import structlog

from extproc.errors import Denied, Reason
from extproc.fairness.pool import Busy, BusyError, FairPool
from extproc.policy.inputs import Inputs
from extproc.policy.listed_tools import ListedTools
from extproc.policy.mcp import JsonRpcId
from extproc.policy.rules import Policy
from extproc.request.admission import Admission, AdmissionControl
from extproc.request.responses import ResponseWatch
from extproc.request.tools_list_body import Keeps, UnreadableError, filtered
from extproc.sessions.session import Session
from extproc.signing.rejections import UpstreamResponse
from extproc.telemetry.record import RequestRecord
from extproc.values import Identity

METHOD = "tools/list"
LONGEST_BODY = 1024 * 1024
"""Bytes of an answer that is filtered: Envoy's buffer, by default."""

_COSTS = 8
"""How many times the cost of one decision all decisions about one list may have."""
_MAX_WAITING, _MAX_OF_ONE = 64, 4  # lists, of all users and of one
_HEADER = "mcp-method"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """A request for a list of tools.

    Attributes:
        id: the request's id.
        inputs: what rules read of it.
        accepts_any: whether ``accept-encoding`` may be changed: the signature does not cover it.
    """

    id: JsonRpcId
    inputs: Inputs
    accepts_any: bool

    def envelope(self) -> bytes:
        """Return a body with what an error repeats of the request."""
        return json.dumps({"jsonrpc": "2.0", "id": self.id, "method": METHOD}).encode()


class ListingAdmission(AdmissionControl):
    """Recognizes requests for lists of tools."""

    def read(self, admission: Admission, body: bytes, record: RequestRecord) -> Inputs:
        """Return the inputs, as without filtering, and record a request for a list."""
        inputs = super().read(admission, body, record)
        message = inputs.message
        if message is not None and message.method == METHOD and admission.target.filter_tools_list:
            signs_coding = any(name == "accept-encoding" for name, _ in admission.signed)
            record.listing = Listing(message.id, inputs, not signs_coding)
        return inputs


class ListingWatch(ResponseWatch):
    """Has Envoy show the head of each response that may be a list of tools."""

    def begin(self, session: Session, admission: Admission) -> bool:
        """Count a request; return whether its response is to be read."""
        if not (
            admission.target.filter_tools_list
            and admission.decided_by_body
            and admission.needs_body
            and _may_list(admission)
        ):
            return super().begin(session, admission)
        self._await()
        return True

    def not_shown(self, admission: Admission, record: RequestRecord | None = None) -> None:
        """Count a stream that Envoy ended before it showed the response."""
        super().not_shown(admission, record)
        if record is not None and record.listing is not None:
            # The client left; or Envoy does not take the mode, and the client has the whole list.
            _log.warning("tools_list_not_shown", target=admission.target.name, request_id=record.request_id)


def _may_list(admission: Admission) -> bool:
    """Return whether the message may be ``tools/list``. A header that says otherwise must equal the body."""
    sent = admission.head.values(_HEADER)
    return not sent or sent[0] == METHOD or sent[0].startswith("=?")


class ToolsLists:
    """Filters lists under one policy, in a thread of its own."""

    def __init__(self, policy: Policy) -> None:
        self._tools = ListedTools(policy)
        self._worker = FairPool(
            workers=1, max_waiting=_MAX_WAITING, max_of_one=_MAX_OF_ONE, name="tools-list"
        )

    def close(self) -> None:
        """Filter no more."""
        self._worker.close()

    async def filter(
        self, listing: Listing, session: Session, response: UpstreamResponse, body: bytes
    ) -> bytes | None:
        """Return the filtered body; None if it stays as it is.

        Raises:
            Denied: ``TOOLS_LIST_UNREADABLE``; ``POLICY_BUSY`` or ``USER_BUSY`` if too many lists wait.
        """
        work = partial(self._filter, listing, session.identity, response.content_type, body)
        try:
            return await self._worker.submit(session.owner, work).result
        except BusyError as busy:
            reason = Reason.USER_BUSY if busy.cause is Busy.OF_ONE_USER else Reason.POLICY_BUSY
            raise Denied(reason, "too many lists of tools are being filtered") from None

    def _filter(self, listing: Listing, identity: Identity, content_type: str, body: bytes) -> bytes | None:
        if len(body) > LONGEST_BODY:
            raise unreadable(f"more than {LONGEST_BODY} bytes")
        try:
            return filtered(body, content_type, listing.id, self._keeps(listing, identity.loaded()))
        except UnreadableError as error:
            raise unreadable(str(error)) from None

    def _keeps(self, listing: Listing, identity: Identity) -> Keeps:
        left = self._tools.cost_limit * _COSTS

        def keeps(name: str) -> bool:
            nonlocal left
            may, cost = self._tools.may_be_called(name, identity, listing.inputs)
            left -= cost
            if left < 0:
                raise UnreadableError("the rules cost too much for so many tools")
            return may

        return keeps


def unreadable(detail: str) -> Denied:
    """Return the denial of a list that cannot be filtered."""
    return Denied(Reason.TOOLS_LIST_UNREADABLE, f"answer to tools/list: {detail}")
