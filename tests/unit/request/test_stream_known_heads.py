"""Streams whose head came before, but for its request id: answered the same, told apart in the logs."""

from functools import partial

import pytest

from extproc.caching.two_generations import TwoGenerationCache
from extproc.ext_proc import decoding
from extproc.head_memory.fingerprint import LONGEST
from extproc.head_memory.memory import FORGOTTEN, KEPT_FOR
from extproc.policy.matchers import cel_matcher
from extproc.policy.rules import Policy, Rule
from extproc.sessions.revocation import Selector
from extproc.signing.targets import Scope, Target
from extproc.values import VOLATILE_HEADERS
from support.clock import Clock
from support.driven import drive
from support.envoy_messages import BUFFERED, NO_BODY, body_message, headers_message, with_claim
from support.pipelines import NOW, Parts
from support.telemetry import ListAudit

ROLE = "arn:aws:iam::123456789012:role/Admin"


def head(request_id="id-1", length=2, **more):
    own = [("x-request-id", request_id), ("content-length", str(length)), ("traceparent", f"of-{request_id}")]
    return headers_message(headers=[*own, *more.pop("headers", [])], **more)


async def known(parts, *, body=b"{}", target_name=None, **more):
    """Such a head came twice: from now on it is known."""
    for _ in range(2):
        answers = await drive(parts, head("id-0", **more), body_message(body), target_name=target_name)
    return answers


@pytest.fixture
def decoded(monkeypatch):
    """How many messages were decoded, by kind."""
    kinds = []
    decode = decoding.decode

    def counted(message, **options):
        found = decode(message, **options)
        kinds.append(type(found).__name__)
        return found

    monkeypatch.setattr(decoding, "decode", counted)
    return kinds


def policy(*sources):
    rules = [Rule(source, cel_matcher(source), ROLE, None) for source in sources]
    return Policy(rules=rules, fallback_role_arn=None, session_name_claim="sub", session_duration=900)


async def test_a_head_that_came_before_is_not_decoded_again_and_answered_the_same(decoded):
    parts = Parts()
    first = await known(parts)
    decoded.clear()
    second = await drive(parts, head("id-2", 3), body_message(b"{ }"))
    again = await drive(Parts(), head("id-2", 3), body_message(b"{ }"))
    assert decoded[:1] == ["BodyMessage"]
    assert [seen.removed for seen in second] == [seen.removed for seen in first]
    assert second[1].is_signed
    assert second[1].set == again[1].set != first[1].set


async def test_heads_that_come_once_take_no_room(decoded):
    parts = Parts()
    for number in range(3):
        await drive(parts, head(headers=[("x-own-trace", str(number))]), body_message())
    assert decoded.count("HeadersMessage") == 3
    assert len(parts.pipeline.heads) == 0


async def test_large_heads_take_no_room(decoded):
    parts = Parts()
    await known(parts, headers=[("x-large", "a" * LONGEST)])
    await known(parts, headers=[("x-larger", "a" * LONGEST)])
    assert decoded.count("HeadersMessage") == 4
    assert len(parts.pipeline.heads) == 0


async def test_heads_are_forgotten_where_no_request_comes(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(
        "extproc.head_memory.memory.TwoGenerationCache", partial(TwoGenerationCache, timer=clock)
    )
    parts = Parts()
    await known(parts)
    kept = []
    for _ in range(3):
        parts.pipeline.heads.forget_idle()
        kept.append(len(parts.pipeline.heads))
        clock.now += KEPT_FOR + 1
    assert kept == [1, 1, 0]


async def test_what_is_remembered_is_nobodys_own():
    parts = Parts(max_body_bytes=20_000)
    await known(parts, token="token-of-alice", length=12345)
    (known_head,) = parts.pipeline.heads._heads._young.values()
    values = dict(known_head.admission.head.headers)
    for name in ("authorization", *VOLATILE_HEADERS):
        assert values[name] is FORGOTTEN


async def test_every_request_is_logged_under_its_own_id(decoded):
    audit = ListAudit()
    parts = Parts(audit=audit)
    for request_id in ("id-1", "id-2", "id-3"):
        await drive(parts, head(request_id), body_message())
    assert decoded.count("HeadersMessage") == 2
    assert [(event.request_id, event.traceparent) for event in audit.events] == [
        (request_id, f"of-{request_id}") for request_id in ("id-1", "id-2", "id-3")
    ]


async def test_a_denial_names_its_own_request_too():
    parts = Parts()
    await known(parts)
    parts.revocation.revoke(Selector(subject="alice"), deny_until=NOW + 60)
    *_, denied = await drive(parts, head("id-2"), body_message())
    assert denied.status == 403
    assert b"id-2" in denied.body
    assert b"id-0" not in denied.body


async def test_another_token_is_never_taken_for_the_one_before():
    parts = Parts()
    await known(parts, token="token-of-alice")
    await drive(parts, head(token="token-of-bobby"), body_message())
    assert (parts.verifier.calls, parts.exchange.calls) == (2, 2)


async def test_a_route_to_another_target_is_another_head():
    targets = [
        Target(name=name, host=f"{name}.example", scope=Scope("us-east-1", name)) for name in ("a", "b")
    ]
    parts = Parts(targets=targets)
    scopes = []
    for name in ("a", "b"):
        await known(parts, target_name=name)
    for name in ("a", "b", "a"):
        _, signed = await drive(parts, head(), body_message(), target_name=name)
        scopes.append(signed.set["authorization"].split("/")[3])
    assert scopes == ["a", "b", "a"]


async def test_a_head_whose_session_has_ended_is_opened_anew():
    parts = Parts()
    await known(parts)
    parts.verifier.trusted = False
    await drive(parts, head("id-2"), body_message())
    assert parts.verifier.calls == 2


async def test_a_body_mode_that_would_leave_the_body_out_is_refused_whatever_was_known():
    parts = Parts()
    await known(parts, body_mode=BUFFERED)
    (refused,) = await drive(parts, head(body_mode=NO_BODY), body_message())
    assert refused.is_immediate


async def test_a_claim_that_looks_like_a_header_hides_no_body_mode():
    """The claim ends as the beginning of a header's value, which would be what follows: the body's mode."""
    claim = "\n\x0btraceparent\x1a\x04"
    message = headers_message(headers=[("traceparent", "-" * 200)])
    parts = Parts()
    for _ in range(3):
        await drive(parts, with_claim(message, claim, body_mode=BUFFERED), body_message())
    (refused,) = await drive(parts, with_claim(message, claim, body_mode=NO_BODY), body_message())
    assert refused.is_immediate


@pytest.mark.parametrize(
    "step",
    [
        "extproc.head_memory.fingerprint.RequestFingerprint.verify_layout",
        "extproc.head_memory.memory.fingerprint",
    ],
)
async def test_what_fails_at_remembering_is_answered_too(monkeypatch, step):
    def fail(*_):
        raise RuntimeError

    parts = Parts()
    monkeypatch.setattr(step, fail)
    answers = [await drive(parts, head(), body_message()) for _ in range(2)]
    assert answers[1][-1].status == 500


async def test_heads_of_refused_tokens_are_not_kept(decoded):
    parts = Parts()
    parts.verifier.groups = []
    for _ in range(3):
        *_, denied = await drive(parts, head(), body_message())
        assert denied.status == 403
    assert decoded.count("HeadersMessage") == 3
    assert len(parts.pipeline.heads) == 0


async def test_where_rules_read_headers_every_head_is_decoded(decoded):
    parts = Parts(policy=policy("request.headers['x-request-id'] == 'id-1'"))
    for _ in range(2):
        answers = await drive(parts, head("id-1"), body_message())
        assert answers[1].is_signed
    *_, other = await drive(parts, head("id-2"), body_message())
    assert other.status == 403
    assert decoded.count("HeadersMessage") == 3


@pytest.mark.parametrize("name", ["x-request-id", "content-length", "traceparent"])
async def test_where_such_a_header_is_signed_every_head_is_decoded(name):
    target = Target(name="t", host="h.example", scope=Scope("us-east-1", "x"), sign_headers=frozenset({name}))
    parts = Parts(targets=[target])
    signatures = set()
    for request_id in ("id-1", "id-2", "id-3"):
        _, signed = await drive(parts, head(request_id, int(request_id[3:])), body_message())
        signatures.add(signed.set["authorization"])
    assert len(signatures) == 3


async def test_rules_over_the_message_still_read_each_body():
    parts = Parts(policy=policy('mcp.tool == "look"'))
    call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%s"}}'
    _, signed = await known(parts, body=call % b"look")
    _, refused = await drive(parts, head("id-2"), body_message(call % b"push"))
    assert signed.is_signed
    assert refused.status == 403
