"""What requests at the same time share, and what they never do."""

import asyncio
from unittest.mock import Mock

import pytest

from extproc.errors import Denied, Reason
from extproc.policy.inputs import NO_INPUTS
from extproc.signing.targets import Scope, Target
from extproc.telemetry.record import RequestRecord
from extproc.values import RequestHead
from support.pipelines import TOKEN, Parts


def admitted(parts, token=TOKEN, jwt_payload=None):
    headers = (("authorization", f"Bearer {token}"),)
    head = RequestHead("POST", "/mcp", "mcp.example", headers, has_body=False, jwt_payload=jwt_payload)
    return parts.pipeline.admission.admit(head)


class GatedVerifier:
    """Waits for ``gate`` in each verification; ``both`` is set when two have begun."""

    def __init__(self, parts):
        self._verify = parts.verifier.verify
        self.payloads = []
        self.gate = asyncio.Event()
        self.both = asyncio.Event()

    async def verify(self, unverified_token, *, jwt_payload=None):
        self.payloads.append(jwt_payload)
        if len(self.payloads) == 2:
            self.both.set()
        await self.gate.wait()
        return await self._verify(unverified_token, jwt_payload=jwt_payload)


@pytest.mark.parametrize("step", ["open", "obtain"])
async def test_a_token_without_envoys_word_never_joins_the_verification_of_one_with_it(step):
    parts = Parts()
    gated = GatedVerifier(parts)
    parts.verifier.verify = gated.verify
    payload = {"sub": "alice"}

    def begin(jwt_payload):
        admission = admitted(parts, jwt_payload=jwt_payload)
        if step == "open":
            return parts.pipeline.authorization.open(admission, RequestRecord())
        return parts.pipeline.authorization.obtain(admission, NO_INPUTS, RequestRecord())

    flights = [asyncio.ensure_future(begin(word)) for word in (payload, None, payload, None)]
    await asyncio.wait_for(gated.both.wait(), 10)
    gated.gate.set()
    await asyncio.gather(*flights)
    assert gated.payloads == [payload, None]


async def test_a_session_that_has_ended_is_not_found_although_its_token_is_known():
    parts = Parts()
    admission = admitted(parts)
    await parts.pipeline.authorization.obtain(admission, NO_INPUTS, RequestRecord())
    assert parts.pipeline.authorization.lookup(admission, NO_INPUTS, RequestRecord()) is not None
    parts.end_credentials()
    assert parts.pipeline.authorization.lookup(admission, NO_INPUTS, RequestRecord()) is None
    parts.sessions.end_where(lambda _session: True)
    assert parts.pipeline.authorization.session(admission) is None


@pytest.mark.parametrize(("coding", "needs_body"), [("aws-chunked", True), ("gzip", False)])
def test_a_body_whose_coding_is_taken_off_is_needed_also_where_it_is_not_signed(coding, needs_body):
    gateway = Target(
        name="s3", host="s3.us-east-1.amazonaws.com", scope=Scope("us-east-1", "s3"), payload="unsigned"
    )
    headers = [("authorization", f"Bearer {TOKEN}"), ("content-encoding", coding)]
    if coding == "aws-chunked":
        headers.append(("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"))
    head = RequestHead("PUT", "/bucket/key", "s3", tuple(headers), has_body=True)
    admission = Parts(targets=[gateway]).pipeline.admission.admit(head)
    assert (admission.chunked is not None, admission.needs_body) == (needs_body, needs_body)


@pytest.mark.parametrize(
    ("known", "reason"), [(True, Reason.STS_UNAVAILABLE), (False, Reason.KEYS_UNAVAILABLE)]
)
async def test_what_takes_longer_than_the_deadline_altogether_is_denied(known, reason):
    """By a reason that tells known users from others: a refusal of theirs may wait for a body."""
    parts = Parts()
    parts.exchange.gate.clear()
    admission = admitted(parts)
    if known:
        await parts.pipeline.authorization.open(admission, RequestRecord())
    parts.pipeline.authorization._deadline = 0.0
    with pytest.raises(Denied) as denied:
        await parts.pipeline.authorization.obtain(admission, NO_INPUTS, RequestRecord())
    assert denied.value.reason is reason


def test_an_error_that_was_never_raised_is_denied_all_the_same():
    reply = Parts().pipeline.refusals.answer(ValueError("secret"), RequestRecord(), None, b"")
    assert (reply.status, reply.reason) == (500, Reason.INTERNAL)
    assert b"secret" not in reply.body


@pytest.mark.parametrize("admission", [True, False], ids=["with its head", "before its head"])
def test_an_abandoned_stream_is_no_error_even_if_telemetry_fails(admission):
    parts = Parts()
    metrics = parts.pipeline.observer._metrics = Mock()
    metrics.abandoned.side_effect = OSError
    parts.pipeline.refusals.abandon(RequestRecord(), admitted(parts) if admission else None, "opened")
    metrics.abandoned.assert_called_once()
