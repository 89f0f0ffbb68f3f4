"""Every decision is told, once, before its answer leaves; Envoy gets it as dynamic metadata."""

import asyncio
import inspect
import json

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Denied, Reason
from extproc.ext_proc import encoding
from extproc.fairness.stream_slots import SlotLimit, StreamSlots
from extproc.policy.rules import Policy, Rule, cel_matcher
from extproc.request.stream import Stream
from extproc.telemetry.event import render
from extproc.telemetry.record import RequestRecord
from support.driven import answers_to
from support.envoy_messages import (
    NO_BODY,
    Seen,
    body_message,
    headers_message,
    response_body_message,
    response_message,
)
from support.pipelines import Parts, denial
from support.tables import each_case
from support.telemetry import GRANT, ListAudit, identity, record

ROLE = "arn:aws:iam::123456789012:role/Admin"


def observed(**options):
    audit = ListAudit()
    return Parts(audit=audit, **options), lambda: [json.loads(render(event)) for event in audit.events]


def metadata(answer):
    ours = ProcessingResponse.parse(answer.message).dynamic_metadata
    if ours is None:
        return None
    (namespace,) = ours.fields
    assert namespace == "extproc"
    fields = ours.fields["extproc"].struct_value.fields
    return {
        name: value.string_value if value.string_value is not None else value.number_value
        for name, value in fields.items()
    }


def counted(parts, **labels):
    return parts.metrics.registry.get_sample_value("extproc_requests_total", labels)


async def test_an_allow_is_observed_with_its_body_and_not_with_continue():
    parts, told = observed()
    head, last = await answers_to(parts, headers_message(headers=[("x-request-id", "r1")]), body_message())
    assert metadata(head) is None
    (event,) = told()
    assert event["request_id"] == "r1"
    assert (event["decision"], event["reason"], event["cache"]) == ("allow", "", "miss")
    assert (event["subject"], event["role_arn"], event["mapping"]) == ("alice", ROLE, "admins")
    assert (event["access_key_id"], event["session_name"]) == ("ASIA0000000000000001", "alice")
    stages = [event[f"{stage}_us"] for stage in ("verify", "policy", "exchange", "sign")]
    assert all(microseconds >= 0 for microseconds in stages)
    assert event["duration_us"] >= event["sign_us"]
    shown = metadata(last)
    assert shown.pop("duration_us") == event["duration_us"]
    assert shown == {
        "subject": "alice", "role_arn": ROLE, "mapping": "admins", "access_key_id": "ASIA0000000000000001",
        "cache": "miss", "decision": "allow",
    }  # fmt: skip
    assert counted(parts, decision="allow", reason="", target="aws-mcp") == 1


async def test_without_dynamic_metadata_decisions_are_told_to_everyone_but_envoy():
    parts, told = observed(with_metadata=False)
    answers = [
        *await answers_to(parts, headers_message(), body_message()),
        *await answers_to(parts, headers_message(token=None)),
    ]
    assert [metadata(answer) for answer in answers] == [None, None, None]
    assert b"AWS4-HMAC-SHA256" in answers[1].message
    assert [event["decision"] for event in told()] == ["allow", "deny"]


async def test_the_cache_state_tells_what_had_to_be_obtained():
    parts, told = observed()
    for _ in range(2):
        await answers_to(parts, headers_message(method="GET", end_of_stream=True, body_mode=NO_BODY))
    parts.end_credentials()
    await answers_to(parts, headers_message(), body_message())
    await answers_to(parts, headers_message(), body_message())
    assert [event["cache"] for event in told()] == ["miss", "hit", "session", "hit"]
    hit = told()[1]
    assert (hit["verify_us"], hit["policy_us"], hit["exchange_us"]) == (None, None, None)
    assert hit["sign_us"] is not None


async def test_where_the_body_decides_a_new_token_is_a_miss_and_a_known_one_a_hit():
    policy = Policy(
        rules=[Rule("callers", cel_matcher('mcp.method == "tools/call"'), ROLE, 1)],
        fallback_role_arn=None,
        session_name_claim="sub",
        session_duration=900,
    )
    parts, told = observed(policy=policy)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami"}}
    for _ in range(2):
        await answers_to(parts, headers_message(), body_message(json.dumps(call).encode()))
    assert [event["cache"] for event in told()] == ["miss", "hit"]
    assert {(event["mcp_method"], event["mcp_tool"]) for event in told()} == {("tools/call", "whoami")}


@each_case(
    ("message", "reason"),
    [
        (headers_message(token=None), "token_missing"),
        (headers_message(path="/a/../b"), "request_ambiguous"),
        (headers_message(observability_mode=True), "protocol_violation"),
        (body_message(), "protocol_violation"),
        (response_message(), "protocol_violation"),
        (b"\xff\xff", "protocol_violation"),
        (headers_message(body_mode=NO_BODY), "body_mode_wrong"),
    ],
)
async def test_early_denials_are_observed(message, reason):
    parts, told = observed()
    (answer,) = await answers_to(parts, message)
    (event,) = told()
    assert (event["decision"], event["reason"], event["access_key_id"]) == ("deny", reason, None)
    assert metadata(answer)["reason"] == reason
    assert metadata(answer)["decision"] == "deny"


async def test_a_failed_verification_names_nobody():
    parts, told = observed()
    parts.verifier.failure = denial(Reason.SIGNATURE_INVALID)
    await answers_to(parts, headers_message(method="GET", end_of_stream=True))
    (event,) = told()
    assert (event["subject"], event["issuer"], event["detail"]) == (None, None, "told to")
    assert event["verify_us"] is not None


async def test_a_refused_exchange_is_recorded_with_subject_and_role_for_all_its_requests():
    parts, told = observed()
    parts.exchange.failure = denial(Reason.STS_ACCESS_DENIED)
    parts.exchange.gate.clear()
    message = headers_message(method="GET", end_of_stream=True)
    waiting = [Stream(parts.pipeline, target_name=None).receive(message) for _ in range(2)]
    parts.exchange.gate.set()
    answers = [*await asyncio.gather(*waiting), *await answers_to(parts, message)]
    assert parts.exchange.calls == 1
    for event, answer in zip(told(), answers, strict=True):
        assert (event["subject"], event["role_arn"], event["mapping"]) == ("alice", ROLE, "admins")
        assert event["access_key_id"] is None
        assert metadata(answer)["subject"] == "alice"
    assert [event["exchange_us"] is None for event in told()] == [False, True, True]


async def test_a_denial_by_policy_names_the_subject_also_when_it_is_remembered():
    parts, told = observed()
    parts.verifier.groups = ["nobody"]
    for _ in range(2):
        await answers_to(parts, headers_message(method="GET", end_of_stream=True))
    assert [(event["reason"], event["subject"]) for event in told()] == [("no_role", "alice")] * 2


async def test_own_replies_are_observed_as_replies():
    parts, told = observed()
    (answer,) = await answers_to(
        parts, headers_message(method="GET", path="/.well-known/oauth-protected-resource/mcp", token=None)
    )
    assert Seen(answer.message).status == 200
    assert [event["decision"] for event in told()] == ["reply"]
    assert metadata(answer)["decision"] == "reply"
    assert counted(parts, decision="reply", reason="", target="") == 1


async def test_a_bug_is_logged_by_type_and_place_without_its_message():
    parts, told = observed()
    parts.verifier.failure = RuntimeError("canary")
    await answers_to(parts, headers_message(method="GET", end_of_stream=True))
    (event,) = told()
    assert event["reason"] == "internal"
    assert event["detail"].startswith("RuntimeError at support.pipelines:")
    assert "canary" not in json.dumps(event)


class BrokenAudit:
    def append(self, _event):
        raise MemoryError


async def test_a_decision_that_cannot_be_observed_is_not_allowed_and_still_gets_its_answer():
    parts = Parts(audit=BrokenAudit())
    answers = await answers_to(parts, headers_message(), body_message())
    assert Seen(answers[-1].message).status == 500
    assert answers[-1].last
    (denied,) = await answers_to(parts, headers_message(token=None))
    assert Seen(denied.message).status == 401


async def test_only_allows_are_sampled():
    parts, told = observed(sample_allows=0.0)
    await answers_to(parts, headers_message(), body_message())
    await answers_to(parts, headers_message(token=None))
    assert [event["decision"] for event in told()] == ["deny"]
    assert counted(parts, decision="allow", reason="", target="aws-mcp") == 1


async def test_an_observed_upstream_is_no_second_decision():
    parts, told = observed(answers="every")
    head = headers_message(method="GET", end_of_stream=True)
    answers = await answers_to(parts, head, response_message("200"))
    assert [metadata(answer) is None for answer in answers] == [False, True]
    assert len(told()) == 1


@given(
    subject=st.text(max_size=2000) | st.just("\ud800"),
    key=st.text(max_size=30),
    seconds=st.floats(min_value=0, max_value=1e6),
)
def test_metadata_reads_back_as_written(subject, key, seconds):
    made = record(identity=identity(subject), grant=GRANT, access_key_id=key, cache="hit", own=seconds)
    reply = encoding.encode_body_continue()
    fields = ProcessingResponse.parse(reply + encoding.encode_metadata(made)).dynamic_metadata.fields[
        "extproc"
    ]
    shown = fields.struct_value.fields
    assert shown["duration_us"].number_value == round(seconds * 1e6)
    assert shown["role_arn"].string_value == ROLE
    expected = subject[:1024].encode(errors="replace").decode()
    assert (shown["subject"].string_value if "subject" in shown else "") == expected
    assert ("access_key_id" in shown) == bool(key)


async def test_a_denied_exception_is_not_needed_to_be_told():
    parts, told = observed()
    assert parts.pipeline.refusals.answer(Denied(Reason.INTERNAL), RequestRecord(), None, b"").status == 500
    assert told()[0]["reason"] == "internal"


@pytest.mark.parametrize(("token", "counted"), [(None, 0), ("t.o.k", 1)], ids=["answered", "left"])
async def test_a_stream_that_is_left_without_an_answer_is_counted_once(token, counted):
    parts = Parts(audit=(audit := ListAudit()))
    stream = Stream(parts.pipeline, target_name=None)
    deciding = stream.receive(headers_message(token=token))
    for _ in range(2):
        stream.close()
    assert [event.decision for event in audit.events].count("abandoned") == counted
    assert (
        parts.metrics.registry.get_sample_value("extproc_streams_abandoned_total", {"phase": "deciding"})
        == counted
    )
    if asyncio.iscoroutine(deciding):
        deciding.close()


def asks_for_the_answer(answer):
    mode = ProcessingResponse.parse(answer.message).mode_override
    return mode is not None and int(mode.response_header_mode) == 1


def looked_at(parts, refused):
    labels = {"target": "aws-mcp", "refused": refused}
    return parts.metrics.registry.get_sample_value("extproc_upstream_answers_total", labels)


async def test_the_answer_is_asked_for_with_the_answer_to_the_head():
    parts = Parts(answers="first")
    first, second = await answers_to(parts, headers_message(), body_message())
    assert asks_for_the_answer(first)
    assert not asks_for_the_answer(second)
    assert second.may_end
    (only,) = await answers_to(parts, headers_message(method="GET", end_of_stream=True))
    assert asks_for_the_answer(only)
    assert not only.last


async def test_in_another_body_mode_no_answer_is_asked_for_whether_the_head_is_known_or_not():
    parts = Parts(answers="every")
    for _ in range(4):
        (only,) = await answers_to(
            parts, headers_message(method="GET", end_of_stream=True, body_mode=NO_BODY)
        )
        assert not asks_for_the_answer(only)
        assert only.last


@each_case("ends", ["denied", "left at the body", "left at the answer", "answered"])
async def test_whatever_becomes_of_a_request_it_does_not_wait_for_its_answer_for_ever(ends):
    parts = Parts(answers="every")
    stream = Stream(parts.pipeline, target_name=None)
    await stream.receive(headers_message())
    assert parts.pipeline.responses.waiting == 1
    if ends == "denied":
        assert Seen(stream.receive(body_message(b"x" * 2000)).message).status == 413
    elif ends != "left at the body":
        stream.receive(body_message())
        if ends == "answered":
            assert stream.receive(response_message()).last
    for _ in range(2):
        stream.close()
    assert parts.pipeline.responses.waiting == 0
    assert looked_at(parts, "none" if ends == "answered" else "not_shown") == 1


async def test_what_goes_wrong_with_looking_changes_no_answer(monkeypatch):
    parts = Parts(answers="every")

    def broken(*_args):
        raise RuntimeError("canary")

    monkeypatch.setattr(parts.pipeline.responses, "_on_response", broken)
    answers = await answers_to(parts, headers_message(), body_message(), response_message("404"))
    assert ProcessingResponse.parse(answers[-1].message).response_headers is not None
    assert answers[-1].last
    assert parts.pipeline.responses.waiting == 0


async def test_a_signature_error_whose_body_envoy_does_not_show_counts_by_its_head():
    parts = Parts(answers="first")
    stream = Stream(parts.pipeline, target_name=None)
    await stream.receive(headers_message())
    stream.receive(body_message())
    head = response_message(
        "403", "InvalidSignatureException", headers=[("content-type", "application/json")]
    )
    assert not stream.receive(head).last
    stream.close()
    assert looked_at(parts, "signature") == 1


async def test_a_signature_error_is_logged_without_anything_of_its_body(capsys):
    parts = Parts(answers="first")
    head = response_message("403", headers=[("content-type", "application/xml"), ("content-length", "99")])
    body = (
        b"<Code>SignatureDoesNotMatch</Code><CanonicalRequest>x-amz-security-token:canary</CanonicalRequest>"
    )
    await answers_to(parts, headers_message(), body_message(), head, response_body_message(body))
    told = capsys.readouterr().out
    assert "upstream_refused_signature" in told
    assert "extproc sign --compare" in told
    assert "canary" not in told
    assert looked_at(parts, "signature") == 1


@pytest.mark.parametrize("status", ["408", "503"])
async def test_a_reply_of_envoys_own_while_the_body_is_awaited_passes_and_is_no_violation(status):
    parts = Parts(answers="first", audit=(audit := ListAudit()))
    _, last = await answers_to(parts, headers_message(), response_message(status))
    assert ProcessingResponse.parse(last.message).response_headers is not None
    assert last.last
    assert [(event.decision, event.detail) for event in audit.events] == [("abandoned", "body")]
    assert parts.pipeline.responses.waiting == 0


async def test_what_looks_like_an_upstreams_answer_before_the_signature_does_not_pass():
    parts = Parts(answers="first")
    _, last = await answers_to(parts, headers_message(), response_message("200"))
    assert Seen(last.message).status == 500


@pytest.mark.parametrize(
    ("status", "named", "told"),
    [("403", "UnrecognizedClientException", True), ("401", None, False)],
    ids=["named by AWS", "perhaps of somebody else"],
)
async def test_new_credentials_that_are_refused_are_kept_and_it_is_counted(status, named, told, capsys):
    parts = Parts(answers="every")
    await answers_to(parts, headers_message(), body_message(), response_message(status, named))
    assert looked_at(parts, "credentials") == 1
    out = capsys.readouterr().out
    assert ("upstream_refused_signature" in out) is told
    assert ("UnrecognizedClientException" in out) is told
    await answers_to(parts, headers_message(), body_message())
    assert parts.exchange.calls == 1


async def test_the_first_of_two_refusals_of_old_credentials_replaces_them_and_the_second_is_no_news(capsys):
    parts = Parts(answers="every")
    streams = [Stream(parts.pipeline, target_name=None) for _ in range(2)]
    for stream in streams:
        step = stream.receive(headers_message())
        await step if inspect.isawaitable(step) else step
        stream.receive(body_message())
    parts.now += 60
    for stream in streams:
        assert stream.receive(response_message("403", "ExpiredToken")).last
    out = capsys.readouterr().out
    assert out.count("upstream_refused_credentials") == 1
    assert "upstream_refused_signature" not in out


async def test_an_answer_that_is_shown_twice_is_counted_once():
    slots = StreamSlots({"aws-mcp": SlotLimit(open=9, of_one=9, waiting=9, seconds=9.0)})
    parts = Parts(answers="every", slots=slots)
    stream = Stream(parts.pipeline, target_name=None)
    await stream.receive(headers_message())
    stream.receive(body_message())
    for _ in range(2):
        stream.receive(response_message("200"))
    assert looked_at(parts, "none") == 1
