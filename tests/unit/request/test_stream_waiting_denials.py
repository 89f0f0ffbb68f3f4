"""A refusal of an MCP request waits for the body with its id: for verified users only, and within bounds."""

import dataclasses
import json
from unittest.mock import Mock

import pytest

from extproc.errors import Denied, Reason
from extproc.request.stream import Stream
from extproc.request.waiting_denials import WaitingDenials
from extproc.sessions.revocation import Selector
from extproc.signing.targets import Scope, Target
from support.driven import drive, step
from support.envoy_messages import (
    NO_BODY,
    Seen,
    body_message,
    headers_message,
    response_message,
    trailers_message,
)
from support.pipelines import NOW, Parts
from support.tables import each_case

CALL = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "x"}}).encode()
LENGTH = ("content-length", str(len(CALL)))
UNSIGNED = Target(name="t", host="h.example", scope=Scope("us-east-1", "x"), payload="unsigned")


def head(*headers, length=LENGTH, **options):
    return headers_message(headers=[*headers, *([length] if length else [])], **options)


async def answer(stream, message):
    found = await step(stream, message)
    return Seen(found.message), found.last


def refusing(reason=Reason.NO_ROLE, **options):
    parts = Parts(**options)
    parts.exchange.failure = Denied(reason, "for operators")
    return parts


@each_case(
    "reason",
    [
        Reason.NO_ROLE,
        Reason.POLICY_DENIED,
        Reason.POLICY_CONFLICT,
        Reason.STS_ACCESS_DENIED,
        Reason.STS_UNAVAILABLE,
        Reason.STS_MISCONFIGURED,
    ],
)
async def test_a_refusal_of_a_known_user_repeats_the_id_of_the_request(reason):
    parts = refusing(reason)
    first, second = await drive(parts, head(), body_message(CALL))
    assert first.is_continue
    assert "authorization" in first.removed
    told = json.loads(second.body)
    assert (second.status, told["id"], told["error"]["code"]) == (
        reason.outcome.status,
        7,
        10_000 + reason.outcome.status,
    )
    assert len(parts.pipeline.refusals.waiting) == 0


async def test_a_bug_while_the_body_is_waited_for_is_answered_too(monkeypatch):
    parts = refusing()
    stream = Stream(parts.pipeline, target_name=None)
    await step(stream, head())
    monkeypatch.setattr("extproc.request.phases.decoding.decode", Mock(side_effect=LookupError))
    seen, is_last = await answer(stream, body_message(CALL))
    assert (seen.status, is_last) == (500, True)
    assert len(parts.pipeline.refusals.waiting) == 0


async def test_a_revoked_user_gets_the_id_with_a_known_head_or_a_new_one():
    parts = Parts()
    for _ in range(3):
        assert (await drive(parts, head(), body_message(CALL)))[-1].is_signed
    parts.revocation.revoke(Selector(subject="alice"), deny_until=NOW + 60)
    for _ in range(2):
        first, second = await drive(parts, head(), body_message(CALL))
        assert first.is_continue
        assert (second.status, json.loads(second.body)["id"]) == (403, 7)


async def test_no_body_of_a_revoked_user_is_waited_for_where_the_request_is_refused_anyway():
    parts = Parts(targets=[dataclasses.replace(UNSIGNED, prefix="/aws")])
    first, second = await drive(parts, head(), body_message(CALL))
    assert first.is_continue
    assert second.status == 404
    parts.deny_list.add(Selector(subject="alice"), until=NOW + 60)
    (only,) = await drive(parts, head(), body_message(CALL))
    assert only.status == 404


@each_case(
    ("failure", "status"),
    [
        (Denied(Reason.TOKEN_EXPIRED), 401),
        (Denied(Reason.SIGNATURE_INVALID), 401),
        (Denied(Reason.KEYS_UNAVAILABLE), 503),
        (RuntimeError("a bug"), 500),
    ],
)
async def test_no_body_is_buffered_for_an_unknown_user(failure, status):
    parts = Parts()
    parts.verifier.failure = failure
    (only,) = await drive(parts, head(), body_message(CALL))
    assert only.status == status
    assert "id" not in json.loads(only.body)


async def test_a_token_is_asked_for_at_once():
    (only,) = await drive(Parts(), head(token=None), body_message(CALL))
    assert (only.status, json.loads(only.body)["error"]["code"]) == (401, 10_401)


@each_case(
    "length",
    [None, ("content-length", "0"), ("content-length", "-1"), ("content-length", "9" * 30),
     ("content-length", str(256 * 1024 + 1)), ("content-length", "5, 5"), ("content-length", "\u0661")],
    ids=str,
)  # fmt: skip
async def test_a_body_of_no_announced_or_too_great_a_length_is_not_waited_for(length):
    if length and not length[1].isascii():
        assert not WaitingDenials(max_bytes=10).may_wait(Denied(Reason.NO_ROLE), length[1])
        return
    (only,) = await drive(refusing(), head(length=length), body_message(CALL))
    assert only.status in (403, 413)  # 413: over the limit of all bodies


@pytest.mark.parametrize(
    "options",
    [
        {"path": "/other"},
        {"method": "GET"},
        {"headers": (("content-type", "application/x-amz-json-1.0"),)},
    ],
)
async def test_others_than_mcp_clients_are_answered_at_once(options):
    headers = options.pop("headers", ())
    (only,) = await drive(refusing(), head(*headers, **options), body_message(CALL))
    assert only.status == 403


async def test_a_body_that_would_not_come_is_not_waited_for():
    parts = refusing(targets=[UNSIGNED])
    (only,) = await drive(parts, head(body_mode=NO_BODY), body_message(CALL))
    assert only.status == 403


@pytest.mark.parametrize("path", ["/nowhere/mcp", "/aws/mcp"])
async def test_a_head_that_announces_a_body_and_ends_the_request_is_answered_at_once(path):
    """Envoy does not pass on such a head; if it did, "continue" would be the last that it asks us for."""
    target = Target(name="t", host="h.example", scope=Scope("us-east-1", "x"), prefix="/aws")
    (only,) = await drive(refusing(targets=[target]), head(path=path, end_of_stream=True))
    assert only.status in (403, 404)


async def test_so_many_wait_and_no_more_and_whoever_leaves_makes_room():
    parts = refusing()
    parts.pipeline.refusals.waiting = WaitingDenials(max_bytes=1024, max_waiting=2)
    waiting = [Stream(parts.pipeline, target_name=None) for _ in range(2)]
    for stream in waiting:
        assert (await answer(stream, head()))[0].is_continue
    (only,) = await drive(parts, head(), body_message(CALL))
    assert only.status == 403
    waiting[0].close()
    waiting[0].close()
    assert len(parts.pipeline.refusals.waiting) == 1
    assert (await drive(parts, head(), body_message(CALL)))[0].is_continue
    seen, last = await answer(waiting[1], body_message(CALL))
    assert (seen.status, last) == (403, True)
    waiting[1].close()
    assert len(parts.pipeline.refusals.waiting) == 0


async def test_one_token_takes_no_more_than_its_part_of_the_room():
    parts = refusing()
    parts.pipeline.refusals.waiting = WaitingDenials(max_bytes=1024, max_waiting=9, max_of_one_token=2)
    waiting = [Stream(parts.pipeline, target_name=None) for _ in range(2)]
    for stream, known in zip(
        waiting, (True, False), strict=True
    ):  # without an admission it is the same token
        message = head() if known else head(("x-amz-target", "a.b"))
        assert (await answer(stream, message))[0].is_continue
    assert (await drive(parts, head(), body_message(CALL)))[0].status == 403
    other = "eyJhbGciOiJub25lIn0.e30.b3RoZXI"
    assert (await drive(parts, head(token=other), body_message(CALL)))[0].is_continue
    waiting[1].close()
    assert (await drive(parts, head(), body_message(CALL)))[0].is_continue
    waiting[0].close()
    assert len(parts.pipeline.refusals.waiting) == 0


@each_case("message", [trailers_message(), head(), b"noise", b""], ids=str)
async def test_whatever_comes_in_place_of_the_body_is_denied(message):
    parts = refusing()
    first, second = await drive(parts, head(), message)
    assert first.is_continue
    assert second.status in (403, 500)
    assert len(parts.pipeline.refusals.waiting) == 0


async def test_what_was_refused_stays_refused_whatever_has_changed_meanwhile():
    parts = refusing()
    stream = Stream(parts.pipeline, target_name=None)
    await answer(stream, head())
    parts.exchange.failure = None
    parts.now = NOW + 60
    assert (await answer(stream, body_message(CALL)))[0].status == 403


@pytest.mark.parametrize(
    ("options", "status"),
    [({"headers": [("x-amz-target", "a.b")]}, 400), ({"path": "/nowhere/mcp"}, 404)],
)
async def test_a_denied_head_gets_the_id_if_its_token_is_valid(options, status):
    target = Target(name="aws-mcp", host="h.example", scope=Scope("us-east-1", "aws-mcp"), prefix="/aws")
    parts = Parts(targets=[target])
    headers = [*options.pop("headers", ()), LENGTH, ("x-copy", "1")]
    options.setdefault("path", "/aws/mcp")
    first, second = await drive(parts, headers_message(headers=headers, **options), body_message(CALL))
    assert first.is_continue
    assert {"authorization", "x-copy"} <= set(first.removed)
    assert (second.status, json.loads(second.body)["id"]) == (status, 7)
    parts.verifier.failure = Denied(Reason.TOKEN_EXPIRED)
    (only,) = await drive(parts, headers_message(headers=headers, **options), body_message(CALL))
    assert only.status == status
    assert "id" not in json.loads(only.body)
    assert len(parts.pipeline.refusals.waiting) == 0


async def test_a_long_message_that_no_rule_reads_is_a_413_with_its_id():
    parts = Parts(max_body_bytes=8)
    _, second = await drive(parts, head(length=None), body_message(CALL))
    assert (second.status, json.loads(second.body)["id"]) == (413, 7)


async def test_envoys_own_413_before_the_signature_stays_one_and_lets_nothing_pass():
    parts = Parts()
    stream = Stream(parts.pipeline, target_name=None)
    seen, _ = await answer(stream, headers_message())
    assert seen.is_continue
    seen, last = await answer(stream, response_message("413"))
    assert (seen.status, last) == (413, True)


async def test_envoys_own_answer_to_a_body_that_a_denial_waits_for_is_the_clients():
    parts = refusing()
    stream = Stream(parts.pipeline, target_name=None)
    seen, _ = await answer(stream, head())
    assert seen.is_continue
    seen, last = await answer(stream, response_message("408"))
    assert (seen.is_immediate, last) == (False, True)
    stream.close()
    assert len(parts.pipeline.refusals.waiting) == 0
