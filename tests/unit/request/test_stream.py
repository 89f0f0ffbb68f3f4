"""One stream, message by message: every message gets an answer, and none lets a request out unsigned."""

import asyncio
import inspect
import json
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import Denied, Reason
from extproc.request import signature
from extproc.request.stream import Stream
from extproc.request.way import LARGE_BODY
from extproc.sessions.revocation import Selector
from extproc.signing.payload import payload_of
from extproc.signing.targets import Scope, Target
from support.driven import drive, step
from support.envoy_messages import (
    BUFFERED,
    NO_BODY,
    SENT,
    STREAMED,
    Seen,
    body_message,
    headers_message,
    response_body_message,
    response_message,
    trailers_message,
)
from support.pipelines import AWS_MCP, NOW, TOKEN, Parts
from support.tables import each_case

ORDINARY = Target(name="t", host="h.example", scope=Scope("us-east-1", "x"))


async def answer(stream, message):
    found = await step(stream, message)
    return Seen(found.message), found.last


async def test_a_post_gets_continue_and_then_a_signature_over_its_body():
    first, second = await drive(Parts(), headers_message(), body_message(b"hello"))
    assert first.is_continue
    assert second.is_signed
    assert second.response.request_body is not None
    assert set(second.set) == {"authorization", "x-amz-date", "x-amz-security-token", "content-length"}
    assert second.set["content-length"] == "5"
    assert second.removed == ["authorization"]


async def test_a_request_without_a_body_is_signed_at_its_head():
    (only,) = await drive(Parts(), headers_message(method="GET", end_of_stream=True, body_mode=NO_BODY))
    assert only.is_signed
    assert only.response.request_headers is not None
    assert "content-length" not in only.set


async def test_a_known_session_is_answered_without_awaiting_anything():
    parts = Parts()
    await drive(parts, headers_message(), body_message())
    stream = Stream(parts.pipeline, target_name=None)
    assert not inspect.isawaitable(stream.receive(headers_message()))
    assert not inspect.isawaitable(stream.receive(body_message()))
    assert (parts.verifier.calls, parts.exchange.calls) == (1, 1)


async def test_content_length_is_left_alone_when_the_client_sent_one():
    _, second = await drive(
        Parts(), headers_message(headers=[("content-length", "5")]), body_message(b"hello")
    )
    assert "content-length" not in second.set


async def test_the_buffered_body_before_trailers_is_complete_although_the_stream_goes_on():
    _, second = await drive(Parts(), headers_message(), body_message(b"x", end_of_stream=False))
    assert second.is_signed


async def test_headers_are_set_in_raw_value_with_overwrite_and_without_append():
    _, second = await drive(Parts(), headers_message(), body_message())
    for option in second.options:
        assert option.header.value == ""
        assert option.header.raw_value
        assert option.append is None
        assert int(option.append_action) == 2  # OVERWRITE_IF_EXISTS_OR_ADD


async def test_the_clients_own_signature_headers_and_cookies_are_removed():
    hostile = [
        ("x-amz-date", "20200101T000000Z"),
        ("x-amz-security-token", "theirs"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("date", "Wed, 01 Jan 2020 00:00:00 GMT"),
        ("proxy-authorization", "Basic eA=="),
        ("cookie", "session=1"),
        ("accept", "text/event-stream"),
    ]
    _, second = await drive(Parts(), headers_message(headers=hostile), body_message())
    assert sorted(second.removed) == [
        "authorization",
        "cookie",
        "date",
        "proxy-authorization",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    ]


async def test_a_prefix_is_stripped_from_the_forwarded_path():
    target = Target(name="t", host="h.example", scope=Scope("us-east-1", "x"), prefix="/aws")
    _, second = await drive(Parts(targets=[target]), headers_message(path="/aws/mcp?b=2&a=1"), body_message())
    assert second.set[":path"] == "/mcp?b=2&a=1"


async def test_a_query_that_is_signed_in_another_spelling_goes_on_in_that_spelling():
    seen = (await drive(Parts(), headers_message(path="/mcp?a=%7e", end_of_stream=True)))[-1]
    assert (seen.is_signed, seen.set[":path"]) == (True, "/mcp?a=~")


async def test_an_unsigned_payload_is_signed_at_the_head_whatever_the_body_mode():
    target = Target(name="t", host="h.example", scope=Scope("us-east-1", "x"), payload="unsigned")
    (only,) = await drive(Parts(targets=[target]), headers_message(body_mode=STREAMED))
    assert only.is_signed
    assert only.set["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


async def test_a_default_region_changes_the_body_its_length_and_its_signature_together():
    target = Target(
        name="t", host="h.example", scope=Scope("us-east-1", "x"), default_aws_region="eu-central-1"
    )
    call = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    headers = [("content-type", "application/json"), ("content-length", str(len(call)))]
    _, second = await drive(Parts(targets=[target]), headers_message(headers=headers), body_message(call))
    changed = bytes(second.response.request_body.response.body_mutation.body)
    assert json.loads(changed)["params"] == {"_meta": {"AWS_REGION": "eu-central-1"}}
    assert second.set["content-length"] == str(len(changed))
    # The same bytes from the client itself give the same signature, so it covers the changed body.
    headers[1] = ("content-length", str(len(changed)))
    _, same = await drive(Parts(targets=[target]), headers_message(headers=headers), body_message(changed))
    assert same.response.request_body.response.body_mutation is None
    assert same.set["authorization"] == second.set["authorization"]


async def test_a_large_body_is_hashed_in_another_thread_with_the_same_result(monkeypatch):
    body = bytes(LARGE_BODY)
    parts = Parts(max_body_bytes=LARGE_BODY)
    await drive(parts, headers_message(), body_message())
    threads = []
    monkeypatch.setattr(
        signature,
        "payload_of",
        lambda *given, **named: threads.append(threading.get_ident()) or payload_of(*given, **named),
    )
    stream = Stream(parts.pipeline, target_name=None)
    stream.receive(headers_message())
    step = stream.receive(body_message(body))
    assert inspect.isawaitable(step)
    there = Seen((await step).message)
    _, here = await drive(parts, headers_message(), body_message(body[1:]))
    assert there.is_signed
    assert here.is_signed
    assert threads[0] != threading.get_ident() == threads[1]


async def test_a_large_body_over_the_limit_is_a_413_too():
    parts = Parts(max_body_bytes=LARGE_BODY - 1)
    _, second = await drive(parts, headers_message(), body_message(bytes(LARGE_BODY)))
    assert second.status == 413


@pytest.mark.parametrize("mode", [NO_BODY, STREAMED])
async def test_a_body_mode_in_which_the_body_would_not_come_whole_is_refused(mode):
    (only,) = await drive(Parts(), headers_message(body_mode=mode))
    assert only.status == 500
    assert only.told["error"] == "server_error"


async def test_observability_mode_is_refused():
    (only,) = await drive(Parts(), headers_message(observability_mode=True))
    assert only.status == 500


@each_case(
    "messages",
    [
        [body_message()],
        [headers_message(), headers_message()],
        [b""],
        [b"\xff\xff\xff"],
        [b"not protobuf at all"],
    ],
    ids=["body-first", "head-twice", "empty", "noise", "text"],
)
async def test_a_message_out_of_order_or_unknown_is_denied(messages):
    answers = await drive(Parts(), *messages)
    assert answers[-1].status == 500
    assert not any(seen.is_signed for seen in answers)


async def test_no_token_is_a_401_with_the_way_to_get_one_before_any_body_is_read():
    (only,) = await drive(Parts(), headers_message(token=None, headers=[("x-request-id", "r-1")]))
    assert only.status == 401
    assert only.set["www-authenticate"] == (
        'Bearer resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp"'
    )
    assert only.told == {
        "error_description": "A bearer token is required.",
        "request_id": "r-1",
    }


async def test_a_request_id_is_repeated_up_to_128_characters():
    (only,) = await drive(
        Parts(), headers_message(token=None, headers=[("x-request-id", "a" * 128 + "b" * 1000)])
    )
    assert only.told["request_id"] == "a" * 128


async def test_two_tokens_are_a_400():
    (only,) = await drive(Parts(), headers_message(token=f"{TOKEN},Bearer {TOKEN}"))
    assert only.status == 400


@pytest.mark.parametrize(
    "head",
    [
        headers_message(method="CONNECT"),
        headers_message(headers=[("upgrade", "websocket")]),
        headers_message(path=""),
    ],
)
async def test_upgrades_and_connect_are_refused_at_the_head(head):
    (only,) = await drive(Parts(), head)
    assert only.status == 400


@each_case("path", ["/mcp/../x", "/mcp?X-Amz-Signature=1", "//mcp", "/a%2e%2e/..;/"])
async def test_ambiguous_requests_are_a_400(path):
    (only,) = await drive(Parts(), headers_message(path=path))
    assert only.status == 400


async def test_a_body_over_the_limit_is_a_413():
    _, second = await drive(Parts(max_body_bytes=4), headers_message(), body_message(b"12345"))
    assert second.status == 413


@each_case("path", ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"])
@each_case("method", ["GET", "HEAD"])
async def test_the_resource_metadata_needs_no_token(path, method):
    (only,) = await drive(Parts(), headers_message(method=method, path=path, token=None, end_of_stream=True))
    assert only.status == 200
    assert json.loads(only.body)["authorization_servers"] == ["https://idp.example"]


async def test_an_unknown_target_name_from_the_route_is_refused():
    (only,) = await drive(Parts(), headers_message(), target_name="other")
    assert only.status == 404


@pytest.mark.parametrize(
    ("reason", "status", "error"),
    [
        (Reason.TOKEN_EXPIRED, 401, "invalid_token"),
        (Reason.NO_ROLE, 403, "access_denied"),
        (Reason.STS_THROTTLED, 503, "temporarily_unavailable"),
    ],
)
async def test_a_token_that_is_refused_is_answered_before_its_body_is_asked_for(reason, status, error):
    parts = Parts()
    parts.exchange.failure = Denied(reason, "detail for operators")
    (only,) = await drive(parts, headers_message(), body_message())
    assert only.status == status
    assert only.told["error"] == error
    assert b"detail for operators" not in only.body
    assert ("retry-after" in only.set) == (status == 503)


async def test_one_exchange_serves_every_stream_that_waits_for_it():
    parts = Parts()
    parts.exchange.gate.clear()
    streams = [Stream(parts.pipeline, target_name=None) for _ in range(50)]
    waiting = [asyncio.ensure_future(stream.receive(headers_message())) for stream in streams]
    await asyncio.sleep(0)
    parts.exchange.gate.set()
    assert all(Seen(step.message).is_continue for step in await asyncio.gather(*waiting))
    answers = [await answer(stream, body_message()) for stream in streams]
    assert all(seen.is_signed for seen, _ in answers)
    assert parts.exchange.calls == 1


async def test_a_stream_that_goes_away_leaves_the_exchange_to_the_others():
    parts = Parts()
    parts.exchange.gate.clear()
    leaving, staying = (Stream(parts.pipeline, target_name=None) for _ in range(2))
    left = asyncio.ensure_future(leaving.receive(headers_message()))
    stayed = asyncio.ensure_future(staying.receive(headers_message()))
    await asyncio.sleep(0)
    left.cancel()
    parts.exchange.gate.set()
    assert Seen((await stayed).message).is_continue
    assert (await answer(staying, body_message()))[0].is_signed
    assert parts.exchange.calls == 1


async def test_continue_already_takes_everything_off_that_must_not_leave_unsigned():
    unsafe = ["proxy-authorization", "cookie", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"]
    sent = [(name, "theirs") for name in (*unsafe, "x-amz-user-agent", "accept")]
    first, second = await drive(Parts(), headers_message(headers=sent), body_message())
    assert sorted(first.removed) == sorted(["authorization", "x-amz-user-agent", *unsafe])
    assert second.removed == first.removed


async def test_an_upgrade_is_refused_also_where_the_same_line_was_signed_a_moment_ago():
    parts = Parts()
    await drive(parts, headers_message(), body_message())
    (only,) = await drive(parts, headers_message(headers=[("upgrade", "websocket")]))
    assert only.status == 400


@pytest.mark.parametrize("warm", [False, True])
async def test_trailers_in_place_of_the_body_are_refused(warm):
    parts = Parts()
    if warm:
        await drive(parts, headers_message(), body_message())
    first, second = await drive(parts, headers_message(), trailers_message())
    assert first.is_continue
    assert second.status == 400


async def test_trailers_before_anything_are_refused():
    (only,) = await drive(Parts(), trailers_message())
    assert only.status == 400


async def test_trailers_of_a_signed_request_pass_while_its_upstream_is_observed():
    parts = Parts(answers="every")
    answers = await drive(
        parts, headers_message(), body_message(end_of_stream=False), trailers_message(), response_message()
    )
    assert answers[1].is_signed
    assert answers[2].response.request_trailers is not None
    assert answers[3].response.response_headers is not None


async def test_the_body_of_an_unsigned_payload_passes_while_its_upstream_is_observed():
    target = Target(name="t", host="h.example", scope=Scope("us-east-1", "x"), payload="unsigned")
    parts = Parts(targets=[target], answers="every")
    first, second, third = await drive(parts, headers_message(), body_message(), response_message())
    assert first.is_signed
    assert second.response.request_body is not None
    assert not second.set
    assert third.response.response_headers is not None


@each_case("method", ["TRACE", "post", "FO-O", "GET\xe9", "A" * 33])
async def test_methods_that_cannot_be_signed_safely_are_a_400(method):
    (only,) = await drive(Parts(), headers_message(method=method))
    assert only.status == 400


@each_case("target", [AWS_MCP, ORDINARY], ids=lambda target: target.name)
@each_case("name", ["x-amzn-bedrock-agentcore-runtime-user-id", "x-http-method-override"])
async def test_headers_that_speak_for_another_user_or_method_are_refused_by_name(name, target):
    (only,) = await drive(Parts(targets=[target]), headers_message(headers=[(name, "boss")]))
    assert only.status == 400
    assert only.told["error_description"] == f"The header {name} is not accepted for this target."


async def test_a_header_that_no_mcp_client_needs_is_refused_by_name_at_an_mcp_target():
    (only,) = await drive(Parts(), headers_message(headers=[("x-amz-target", "Other.Action")]))
    assert only.status == 400
    assert "x-amz-target" in only.told["error_description"]
    assert b"Other.Action" not in only.body


@pytest.mark.parametrize("times", [1, 3])  # parsed, and known by its bytes
async def test_clients_aws_headers_are_signed_and_forwarded_by_default(times):
    parts = Parts(targets=[ORDINARY])
    for _ in range(times):
        first, second = await drive(
            parts, headers_message(headers=[("x-amz-target", "DynamoDB.Query")]), body_message()
        )
        assert "x-amz-target" not in (*first.removed, *second.removed)
        assert ";x-amz-target," in second.set["authorization"]


@pytest.mark.parametrize("times", [1, 3])
async def test_withheld_headers_leave_the_request_at_once_and_are_counted(times):
    target = replace(ORDINARY, withhold_headers=frozenset({"x-amz-meta-*", "x-internal"}))
    parts = Parts(targets=[target])
    sent = [("x-amz-meta-a", "1"), ("x-amz-meta-b", "2"), ("x-internal", "3"), ("x-amz-acl", "private")]
    for _ in range(times):
        first, second = await drive(parts, headers_message(headers=sent), body_message())
        assert set(first.removed) == set(second.removed)
        assert set(first.removed) == {"authorization", "x-amz-meta-a", "x-amz-meta-b", "x-internal"}
        assert "x-amz-meta" not in second.set["authorization"]
        assert "x-amz-acl" in second.set["authorization"]
    counted = parts.metrics.registry.get_sample_value("extproc_withheld_headers_total", {"target": "t"})
    assert counted == 3 * times


async def test_an_expired_session_is_opened_anew():
    parts = Parts()
    await drive(parts, headers_message(), body_message())
    parts.now = NOW + 600
    await drive(parts, headers_message(), body_message())
    assert parts.exchange.calls == 2


async def test_a_body_that_was_held_up_is_not_signed_after_its_token_has_ended(monkeypatch):
    parts = Parts()
    stream = Stream(parts.pipeline, target_name=None)
    await answer(stream, headers_message())
    monkeypatch.setattr("extproc.request.way.RECHECK_AFTER", -1.0)
    parts.now = NOW + 601
    parts.verifier.failure = Denied(Reason.TOKEN_EXPIRED)
    seen, last = await answer(stream, body_message())
    assert (seen.status, last) == (401, True)


ALICE = Selector(subject="alice")


async def until(happened):
    for _ in range(1000):
        if happened():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never happened")


async def test_a_body_that_was_held_up_is_not_signed_after_a_revocation():
    parts = Parts()
    stream = Stream(parts.pipeline, target_name=None)
    await answer(stream, headers_message())
    parts.revocation.revoke(ALICE, deny_until=NOW + 60)
    seen, last = await answer(stream, body_message())
    assert (seen.status, last) == (403, True)
    assert b"Your access here has been revoked" in seen.response.immediate_response.body


async def test_a_large_body_that_is_being_hashed_is_not_signed_after_a_revocation(monkeypatch):
    parts = Parts(max_body_bytes=2 * LARGE_BODY)
    stream = Stream(parts.pipeline, target_name=None)
    await answer(stream, headers_message())
    hashing = asyncio.create_task(answer(stream, body_message(bytes(LARGE_BODY))))
    await asyncio.sleep(0)
    parts.revocation.revoke(ALICE, deny_until=NOW + 60)
    assert (await hashing)[0].status == 403


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_exchange_under_way_at_a_revocation_signs_nothing(method):
    parts = Parts()
    parts.exchange.gate.clear()
    messages = [headers_message(method=method, end_of_stream=method == "GET")]
    waiting = asyncio.create_task(drive(parts, *messages, body_message()))
    await until(lambda: parts.exchange.calls)
    parts.revocation.revoke(ALICE, deny_until=NOW + 60)
    parts.exchange.gate.set()
    assert (await waiting)[-1].status == 403
    assert parts.sessions.credentials == 0


async def test_a_token_that_is_being_verified_at_a_revocation_opens_no_session():
    parts, verifying = Parts(), asyncio.Event()
    verify = parts.verifier.verify

    async def slowly(*arguments, **options):
        identity = await verify(*arguments, **options)
        await verifying.wait()
        return identity

    parts.verifier.verify = slowly
    waiting = asyncio.create_task(drive(parts, headers_message(method="GET", end_of_stream=True)))
    await until(lambda: parts.verifier.calls)
    parts.revocation.revoke(ALICE, deny_until=NOW + 60)
    verifying.set()
    assert (await waiting)[-1].status == 403
    assert (len(parts.sessions), parts.exchange.calls) == (0, 0)


async def test_a_revoked_token_works_again_when_its_time_is_over_and_costs_no_exchange_until_then():
    parts = Parts()
    await drive(parts, headers_message(), body_message())
    parts.revocation.revoke(ALICE, deny_until=NOW + 60)
    for _ in range(3):
        assert (await drive(parts, headers_message(), body_message()))[-1].status == 403
    assert parts.exchange.calls == 1
    parts.now = NOW + 60
    assert (await drive(parts, headers_message(), body_message()))[-1].is_signed
    assert parts.exchange.calls == 2


async def test_a_session_ends_when_its_key_is_no_longer_published():
    parts = Parts()
    await drive(parts, headers_message(), body_message())
    parts.verifier.trusted = False
    parts.verifier.failure = Denied(Reason.KEY_UNKNOWN)
    (only,) = await drive(parts, headers_message(), body_message())
    assert only.status == 401


@each_case(
    ("status", "error_type", "exchanges"),
    [
        ("200", None, 1),
        ("404", "ResourceNotFoundException", 1),
        ("403", "AccessDeniedException", 1),
        ("403", None, 1),
        ("401", None, 2),
        ("403", "ExpiredTokenException", 2),
        ("403", "UnrecognizedClientException:http://internal.amazon.com/coral/", 2),
        ("500", "ExpiredTokenException", 1),
        ("nonsense", "ExpiredTokenException", 1),
    ],
)
async def test_credentials_that_the_upstream_refuses_are_replaced_if_it_is_observed(
    status, error_type, exchanges
):
    parts = Parts(answers="every")
    await drive(parts, headers_message(), body_message())
    parts.now = NOW + 60
    answers = await drive(parts, headers_message(), body_message(), response_message(status, error_type))
    assert answers[1].is_signed
    assert answers[2].response.response_headers is not None
    await drive(parts, headers_message(), body_message())
    assert parts.exchange.calls == exchanges


async def test_a_short_errors_body_is_asked_for_and_what_it_names_counts():
    parts = Parts(answers="every")
    await drive(parts, headers_message(), body_message())
    parts.now = NOW + 60
    error = b"<Error><Code>InvalidAccessKeyId</Code></Error>"
    head = response_message("403", headers=[("content-type", "application/xml"), ("content-length", "46")])
    answers = await drive(parts, headers_message(), body_message(), head, response_body_message(error))
    assert answers[2].response.mode_override.response_body_mode == BUFFERED
    assert answers[3].response.response_body is not None
    await drive(parts, headers_message(), body_message())
    assert parts.exchange.calls == 2


async def test_of_an_error_of_unknown_length_so_much_is_looked_at_and_no_more():
    parts = Parts(answers="every")
    head = response_message("403", headers=[("content-type", "application/xml")])
    part = response_body_message(b" " * 1024, end_of_stream=False)
    answers = await drive(parts, headers_message(), body_message(), head, *[part] * 40)
    assert answers[2].response.mode_override.response_body_mode == STREAMED
    assert len(answers) == 3 + 16


async def test_asking_for_a_response_body_leaves_the_requests_modes_as_they_are_rendered():
    parts = Parts(answers="every")
    head = response_message("403", headers=[("content-type", "application/json")])
    answers = await drive(parts, headers_message(), body_message(), head)
    mode = answers[2].response.mode_override
    assert (mode.request_body_mode, mode.request_trailer_mode) == (BUFFERED, SENT)


async def test_continue_asks_for_the_body_and_the_trailers_of_the_request_and_no_more_of_the_response():
    answers = await drive(Parts(), headers_message())
    mode = answers[0].response.mode_override
    assert (mode.request_body_mode, mode.request_trailer_mode) == (BUFFERED, SENT)
    assert (mode.response_header_mode, mode.response_body_mode) == (2, 0)  # SKIP, NONE


async def test_an_unrequested_response_body_is_a_protocol_violation():
    parts = Parts(answers="every")
    answers = await drive(parts, headers_message(), body_message(), response_body_message(b""))
    assert answers[2].status == 500
    (only,) = await drive(parts, response_body_message(b""))
    assert only.status == 500


async def test_a_response_before_any_signature_is_a_protocol_violation():
    (only,) = await drive(Parts(answers="every"), response_message())
    assert only.status == 500


class BoomError(Exception):
    pass


SECRET = "canary-secret-7f3a"


def _break(parts, where, error):
    def raising(*_args, **_kwargs):
        raise error

    if where == "verify":
        parts.verifier.failure = error
    elif where == "exchange":
        parts.exchange.failure = error
    elif where == "trust":
        parts.verifier.trusted = error
    elif where == "admit":
        parts.pipeline.admission._targets = type("T", (), {"select": raising})()
    elif where == "policy":
        parts.policy.decide = raising
    elif where == "sign":
        parts.pipeline.signature._signer = type("S", (), {"sign": raising})()
    elif where == "lookup":
        parts.pipeline.authorization._sessions = type("C", (), {"lookup": raising})()


@pytest.mark.parametrize(
    "kind", [BoomError, ValueError, KeyError, RecursionError, MemoryError, AssertionError]
)
@pytest.mark.parametrize("where", ["admit", "lookup", "verify", "policy", "exchange", "sign"])
async def test_an_exception_at_any_step_denies_and_its_message_goes_nowhere(where, kind, capfd):
    parts = Parts()
    _break(parts, where, kind(SECRET))
    answers = await drive(parts, headers_message(), body_message())
    assert answers[-1].status == 500
    assert not any(seen.is_signed for seen in answers)
    assert SECRET.encode() not in answers[-1].body
    out, err = capfd.readouterr()
    assert SECRET not in out + err


async def test_an_exception_on_the_warm_way_denies_too():
    parts = Parts()
    await drive(parts, headers_message(), body_message())
    _break(parts, "trust", BoomError(SECRET))
    answers = await drive(parts, headers_message(), body_message())
    assert answers[-1].status == 500


@settings(max_examples=3 * settings.default.max_examples)
@given(st.lists(st.binary(max_size=64), min_size=1, max_size=4))
async def test_arbitrary_bytes_are_always_answered_and_never_signed(messages):
    answers = await drive(Parts(), *messages)
    assert answers[-1].is_immediate
    assert not any(seen.is_signed for seen in answers)


@settings(max_examples=2 * settings.default.max_examples)
@given(
    st.text(max_size=60).filter(lambda text: "\x00" not in text),
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
            st.text(st.characters(max_codepoint=255), max_size=30),
        ),
        max_size=6,
    ),
)
async def test_arbitrary_heads_are_answered(path, headers):
    path = path.encode("utf-8", "replace").decode("latin-1")
    answers = await drive(
        Parts(), headers_message(path=path, headers=headers, body_mode=BUFFERED), body_message()
    )
    assert answers[-1].is_immediate or answers[-1].is_signed


# What was found for a request is taken again, without looking it up, for a moment.


async def test_a_revocation_ends_what_was_found_a_moment_ago():
    parts = Parts()
    await drive(parts, headers_message(), body_message())
    _, warm = await drive(parts, headers_message(), body_message())
    assert warm.is_signed
    parts.revocation.revoke(ALICE)
    await drive(parts, headers_message(), body_message())
    assert (parts.verifier.calls, parts.exchange.calls) == (2, 2)


async def test_a_key_that_is_withdrawn_ends_what_was_found_a_moment_ago():
    parts = Parts()
    await drive(parts, headers_message(), body_message())
    parts.verifier.trusted = False
    await drive(parts, headers_message(), body_message())
    assert parts.verifier.calls == 2


async def test_renewed_credentials_are_used_at_once():
    parts = Parts()
    await drive(parts, headers_message(), body_message())
    parts.now += 0.8 * 600
    await drive(parts, headers_message(), body_message())
    (session,) = parts.sessions.values()
    session.identity = replace(session.identity, expires_at=NOW + 9000)
    ((granted, _),) = session.living()
    await parts.credentials._renew(session, granted)
    _, renewed = await drive(parts, headers_message(), body_message())
    assert "ASIA0000000000000002" in renewed.set["authorization"]


async def test_what_was_found_a_moment_ago_does_not_outlive_the_token():
    parts = Parts()
    await drive(parts, headers_message(), body_message())
    parts.now = NOW + 600 - 0.75
    await drive(parts, headers_message(), body_message())
    parts.now = NOW + 600
    await drive(parts, headers_message(), body_message())
    assert parts.verifier.calls == 2


@pytest.mark.parametrize("body_mode", [BUFFERED, NO_BODY])
async def test_an_aws_chunked_body_needs_to_be_buffered_also_where_it_is_not_signed(body_mode):
    gateway = replace(ORDINARY, payload="unsigned")
    chunked = [
        ("content-encoding", "aws-chunked"),
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
    ]
    parts = Parts(targets=[gateway])
    first, *rest = await drive(
        parts, headers_message(headers=chunked, body_mode=body_mode), body_message(b"0\r\n\r\n")
    )
    if body_mode is BUFFERED:
        assert first.is_continue
        assert rest[0].is_signed
    else:
        assert first.is_immediate
        assert not rest
        assert parts.metrics.registry.get_sample_value(
            "extproc_requests_total", {"decision": "deny", "reason": "body_coding_refused", "target": "t"}
        )


async def test_a_request_with_large_headers_is_signed_if_there_is_room_for_ours_else_denied():
    for size, is_signed in ((59_000, True), (61_100, False)):
        first, second = await drive(Parts(), headers_message(headers=[("x-h", "1" * size)]), body_message())
        assert first.is_continue
        assert second.is_signed is is_signed
        assert second.status == (None if is_signed else 431)


async def test_a_denial_of_a_post_to_a_target_that_takes_no_mcp_is_no_json_rpc_error():
    objects = Target(name="s3", host="b.s3.us-east-1.amazonaws.com", scope=Scope("us-east-1", "s3"))
    head = headers_message(
        token=None, path="/mcp", headers=[("accept", "application/json, text/event-stream")]
    )
    (denied,) = await drive(Parts(targets=[objects]), head)
    assert "jsonrpc" not in json.loads(denied.body)
    (denied,) = await drive(Parts(), head)
    assert json.loads(denied.body)["jsonrpc"] == "2.0"
