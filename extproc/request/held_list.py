"""Hold back a list of tools on its way to the client, and filter it (``request.tools_lists``)."""

from collections.abc import Generator
from functools import partial
from typing import Any

from extproc.errors import Denied, Reason
from extproc.ext_proc import decoding, encoding
from extproc.request.answers import IDENTITY_CODING, PASS_REST, PASS_TRAILERS, SHOW_BODY, Answer
from extproc.request.phases import Progress, receive
from extproc.request.tools_list_body import TYPES
from extproc.request.tools_lists import LONGEST_BODY, Listing, ToolsLists, unreadable
from extproc.sessions.session import Authorized
from extproc.signing.rejections import UpstreamResponse, is_success


def held(
    lists: ToolsLists, progress: Progress, authorized: Authorized, answer: Answer
) -> Generator[Any, Any, tuple[UpstreamResponse, Answer | None]]:
    """Have Envoy hold back a list of tools. Return the response's head, and the answer with which it goes on.

    ``answer`` is the one that signs the request. A response without success is no list, and is not answered.

    Raises:
        Denied: the list cannot be filtered.
    """
    listing: Listing = progress.record.listing
    progress.body = listing.envelope()
    message = answer.message + (IDENTITY_CODING if listing.accepts_any else b"")
    # No answer may end the stream: Envoy would forward the list as it came.
    received = receive(progress, (yield Answer(message, last=False)))
    while isinstance(received, decoding.TrailersMessage):
        received = receive(progress, (yield Answer(PASS_TRAILERS.message, last=False)))
    if not isinstance(received, UpstreamResponse):
        raise Denied(Reason.PROTOCOL_VIOLATION, "no head came of a response to tools/list")
    if not is_success(received):
        return received, None
    progress.response = received
    _check(received)
    is_kept = progress.slot is not None
    body = receive(progress, (yield Answer(SHOW_BODY[is_kept].message, last=False)))
    if not isinstance(body, decoding.ResponseBodyMessage):
        raise Denied(Reason.PROTOCOL_VIOLATION, "no body came of a response to tools/list")
    changed = yield partial(lists.filter, listing, authorized.session, received, body.body)
    passed = PASS_REST.message if changed is None else encoding.encode_response_body(changed)
    return received, Answer(passed, last=not is_kept, may_end=True)


def _check(response: UpstreamResponse) -> None:
    if response.content_type not in TYPES:
        raise unreadable("neither JSON nor events")
    if response.encoded:
        raise unreadable("has a content coding")
    if (response.content_length or 0) > LONGEST_BODY:
        raise unreadable(f"more than {LONGEST_BODY} bytes")
