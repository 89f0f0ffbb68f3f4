"""What streams do about origins, tokens for STS and Envoy's word for a token."""

import dataclasses

import pytest

from extproc.authn.envoy_jwt import METADATA_NAMESPACE, PAYLOAD_KEY
from extproc.errors import Denied, Reason
from extproc.ext_proc import decoding
from extproc.ext_proc.envoy.external_processor_pb2 import ProcessingRequest
from extproc.request.stream import Stream
from extproc.telemetry.record import RequestRecord
from support.envoy_messages import Seen, headers_message
from support.pipelines import NOW, Parts, head_of
from support.tables import each_case

APP = "https://app.example"


async def _answer(parts, **message):
    answer = Stream(parts.pipeline, target_name=None).receive(headers_message(end_of_stream=True, **message))
    if not hasattr(answer, "message"):
        answer = await answer
    assert answer.last
    return Seen(answer.message)


def _with_payload(message, payload):
    request = ProcessingRequest.FromString(message)
    request.metadata_context.filter_metadata[METADATA_NAMESPACE].update({PAYLOAD_KEY: payload})
    return request.SerializeToString()


def test_envoys_payload_is_read_only_when_asked_for():
    payload = {"sub": "a", "exp": 1790000600, "groups": ["x", {"y": None}], "ok": True, "a.b/c": "d"}
    message = _with_payload(headers_message(), payload)
    assert decoding.decode(message, target_name=None).head.jwt_payload is None
    head = decoding.decode(message, target_name=None, with_jwt_payload=True).head
    assert head.jwt_payload == payload
    assert type(head.jwt_payload["exp"]) is float
    assert "sub" not in repr(head)


@each_case("payload", ["text", 1, True, None, ["list"]])
def test_a_payload_that_is_no_object_is_none(payload):
    message = _with_payload(headers_message(), payload)
    assert decoding.decode(message, target_name=None, with_jwt_payload=True).head.jwt_payload is None


def test_a_header_cannot_pass_for_envoys_payload():
    message = headers_message(headers=[(METADATA_NAMESPACE, '{"sub": "root"}'), (PAYLOAD_KEY, "{}")])
    assert decoding.decode(message, target_name=None, with_jwt_payload=True).head.jwt_payload is None


async def test_a_foreign_origin_is_refused_before_everything_else():
    for message in ({"token": None}, {"method": "CONNECT"}, {"token": "a,b"}, {}):
        seen = await _answer(Parts(), headers=[("origin", "https://evil.example")], **message)
        assert seen.status == 403
    parts = Parts()
    await _answer(parts, headers=[("origin", "https://evil.example")])
    assert parts.verifier.calls == 0
    assert (await _answer(parts)).is_signed
    seen = await _answer(parts, headers=[("origin", "https://evil.example")])
    assert seen.status == 403  # also when the same request line was good a moment ago


async def test_an_allowed_origin_is_served_and_its_preflight_answered_without_a_token():
    parts = Parts(allowed_origins=[APP])
    assert (await _answer(parts, headers=[("origin", APP)])).is_signed
    preflight = await _answer(
        parts,
        method="OPTIONS",
        token=None,
        headers=[("origin", APP), ("access-control-request-method", "POST")],
    )
    assert (preflight.status, preflight.set["access-control-allow-origin"]) == (204, APP)


async def test_a_denial_of_an_allowed_origin_can_be_read_by_its_page():
    seen = await _answer(Parts(allowed_origins=[APP]), token=None, headers=[("origin", APP)])
    assert (seen.status, seen.set["access-control-allow-origin"]) == (401, APP)


async def test_a_missing_scope_is_challenged_with_all_scopes():
    parts = Parts()
    parts.verifier.failure = Denied(Reason.SCOPE_MISSING, "without aws", scopes=("mcp", "aws"))
    seen = await _answer(parts)
    assert seen.status == 403
    assert 'scope="mcp aws", error="insufficient_scope"' in seen.set["www-authenticate"]


@pytest.mark.parametrize("reason", [Reason.NO_ROLE, Reason.ORIGIN_REFUSED, Reason.STS_ACCESS_DENIED])
async def test_other_refusals_are_no_challenge(reason):
    parts = Parts()
    parts.verifier.failure = Denied(reason)
    assert "www-authenticate" not in (await _answer(parts)).set


async def test_a_token_for_sts_is_removed_whether_its_issuer_uses_it_or_not():
    parts = Parts(exchange_headers={"x-id-token"})
    seen = await _answer(parts, headers=[("x-id-token", "a.b.c"), ("x-other", "1")])
    assert seen.is_signed
    assert "x-id-token" in seen.removed
    assert "x-other" not in seen.removed


async def test_envoys_word_for_a_known_token_is_that_of_the_present_request():
    parts, payload = Parts(), {"sub": "alice"}
    parts.verifier.still_trusted = lambda _identity, given: given == payload
    admit, authorization = parts.pipeline.admission.admit, parts.pipeline.authorization
    with_payload = admit(dataclasses.replace(head_of(), jwt_payload=payload))
    opened = await authorization.open(with_payload, RequestRecord())
    assert authorization.session(with_payload) is opened
    assert authorization.session(admit(head_of())) is None


async def test_a_session_belongs_to_all_its_tokens():
    parts = Parts(exchange_headers={"x-id-token", "x-sts-token"})
    first, other = ("x-id-token", "a.b.c"), ("x-sts-token", "a.b.c")
    for header, calls in ((first, 1), (first, 1), (("x-id-token", "a.b.d"), 2), (other, 3)):
        assert (await _answer(parts, headers=[header])).is_signed
        assert parts.verifier.calls == calls
    assert (await _answer(parts)).is_signed
    assert parts.verifier.calls == 4


async def test_no_session_lets_a_token_in_that_the_verifier_would_not():
    parts = Parts()
    parts.now = NOW + 599
    assert (await _answer(parts)).is_signed
    # STS may take a token that has expired for us.
    parts.now, parts.verifier.failure = NOW + 600, Denied(Reason.TOKEN_EXPIRED)
    assert (await _answer(parts)).status == 401
    assert parts.verifier.calls == 2
    assert len(parts.sessions) == 0


@each_case(("reason", "left"), [(Reason.KEYS_UNAVAILABLE, 1), (Reason.SIGNATURE_INVALID, 0)])
async def test_a_session_outlives_an_outage_of_the_provider_and_no_refusal(reason, left):
    parts = Parts()
    assert (await _answer(parts)).is_signed
    parts.verifier.trusted, parts.verifier.failure = False, Denied(reason)
    assert not (await _answer(parts)).is_signed
    assert (len(parts.sessions), parts.sessions.credentials) == (left, left)


async def test_a_malformed_token_for_sts_is_a_bad_request():
    parts = Parts(exchange_headers={"x-id-token"})
    assert (await _answer(parts, headers=[("x-id-token", "a"), ("x-id-token", "b")])).status == 400
    assert (await _answer(parts, headers=[("x-id-token", "é")])).status == 400
