"""Both engines on loopback: a stream ends with a last answer or with a status that is not OK."""

import asyncio
import contextlib
import subprocess
import threading
from unittest.mock import Mock

import grpc
import grpc.aio
import pytest
import structlog
from grpc._cython import cygrpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.demo.stack import find_program
from extproc.errors import Denied, Reason
from extproc.grpc_server import engine
from extproc.grpc_server.completion_queue.calls import NO_ANSWER, ProcessCall, SignedCalls
from extproc.grpc_server.service_names import EXT_PROC_SERVICE, TARGET_METADATA
from extproc.grpc_server.transport import Limits, Transport
from extproc.request.stream import Stream
from support.envoy_messages import Seen, body_message, headers_message
from support.pipelines import Parts
from support.telemetry import ListAudit

QUEUE_SHUTDOWN = Mock(completion_type=cygrpc.CompletionType.queue_shutdown)


def clear_text(address="127.0.0.1:0"):
    return Transport(addresses=[address], limits=Limits(message_bytes=9 * 2**20))


@pytest.fixture(params=["completion_queue", "aio"])
def running(request):
    return lambda parts: _running(request.param, parts)


@contextlib.asynccontextmanager
async def _running(name, parts):
    server = engine.build(name, transport=clear_text(), pipeline=lambda: parts.pipeline)
    await server.start()
    await server.set_serving(serving=True)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports[0]}") as channel:
            yield server, channel
    finally:
        await server.stop(grace=0)


def process(channel, metadata=()):
    return channel.stream_stream(f"/{EXT_PROC_SERVICE}/Process")(metadata=metadata)


async def test_a_signed_exchange_ends_ok_right_after_the_last_answer(running):
    async with running(Parts()) as (_, channel):
        call = process(channel)
        await call.write(headers_message())
        assert Seen(await call.read()).is_continue
        await call.write(body_message())
        assert Seen(await call.read()).is_signed
        # We have not half-closed: the server ends the stream by itself.
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK


async def test_an_empty_stream_does_not_end_ok(running):
    async with running(Parts()) as (_, channel):
        call = process(channel)
        await call.done_writing()
        assert await call.code() == grpc.StatusCode.ABORTED


async def test_a_stream_half_closed_while_its_body_is_awaited_does_not_end_ok(running):
    async with running(Parts()) as (_, channel):
        call = process(channel)
        await call.write(headers_message())
        await call.read()
        await call.done_writing()
        assert await call.code() == grpc.StatusCode.ABORTED
        assert await call.details() == "no answer"


def abandoned(parts):
    samples = (
        sample for family in parts.metrics.registry.collect() for sample in family.samples
        if sample.name == "extproc_streams_abandoned_total"
    )  # fmt: skip
    return {sample.labels["phase"]: sample.value for sample in samples}


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def test_a_client_that_leaves_during_the_exchange_is_noted_and_the_next_one_has_its_result(running):
    audit = ListAudit()
    parts = Parts(audit=audit)
    parts.exchange.gate.clear()
    async with running(parts) as (_, channel):
        call = process(channel)
        await call.write(headers_message(method="GET", end_of_stream=True))
        await until(lambda: parts.exchange.calls)
        call.cancel()
        await until(lambda: audit.events)
        assert abandoned(parts) == {"opened": 0, "deciding": 1, "body": 0}
        assert [(event.decision, event.detail) for event in audit.events] == [("abandoned", "deciding")]
        assert audit.events[0].caller.subject == "alice"
        parts.exchange.gate.set()
        await until(lambda: parts.sessions.credentials)
        call = process(channel)
        await call.write(headers_message(method="GET", end_of_stream=True))
        assert Seen(await call.read()).is_signed
    assert parts.exchange.calls == 1
    assert [event.decision for event in audit.events] == ["abandoned", "allow"]


@pytest.mark.parametrize("leave", ["cancel", "done_writing"])
async def test_a_client_that_leaves_before_its_body_came_is_noted(running, leave):
    audit = ListAudit()
    parts = Parts(audit=audit)
    async with running(parts) as (_, channel):
        for _ in range(3):  # a head not known, whose answer is waited for, and known ones
            call = process(channel)
            await call.write(headers_message())
            assert Seen(await call.read()).is_continue
            left = getattr(call, leave)()
            if asyncio.iscoroutine(left):
                await left
        await until(lambda: len(audit.events) == 3)
    assert abandoned(parts) == {"opened": 0, "deciding": 0, "body": 3}
    assert {(event.decision, event.detail) for event in audit.events} == {("abandoned", "body")}


async def test_a_stream_without_a_message_is_counted_and_not_in_the_audit_log(running):
    audit = ListAudit()
    parts = Parts(audit=audit)
    async with running(parts) as (_, channel):
        await process(channel).done_writing()
        await until(lambda: abandoned(parts)["opened"] == 1)
    assert audit.events == []


async def test_a_stream_that_is_cancelled_before_its_first_message_is_counted(running, monkeypatch):
    parts, begun = Parts(), threading.Event()
    async with running(parts) as (server, channel):
        admits = server._transport.admits
        monkeypatch.setattr(server._transport, "admits", lambda peer: begun.set() or admits(peer))
        call = process(channel)
        writing = asyncio.ensure_future(call.wait_for_connection())
        await until(begun.is_set)
        call.cancel()
        await until(lambda: abandoned(parts)["opened"] == 1)
        with contextlib.suppress(asyncio.CancelledError):
            await writing
    assert abandoned(parts) == {"opened": 1, "deciding": 0, "body": 0}


async def test_an_answered_stream_is_not_abandoned_however_it_ends(running):
    parts = Parts(answers="every")
    async with running(parts) as (_, channel):
        call = process(channel)
        await call.write(headers_message(method="GET", end_of_stream=True))
        assert Seen(await call.read()).is_signed
        call.cancel()
        call = process(channel)
        await call.write(headers_message(token=None))
        assert Seen(await call.read()).status == 401
        assert await call.read() is grpc.aio.EOF
    assert abandoned(parts) == {"opened": 0, "deciding": 0, "body": 0}


async def test_who_only_waits_for_the_upstreams_answer_is_let_go_with_ok_when_the_server_stops(running):
    parts = Parts(answers="every")
    async with running(parts) as (server, channel):
        before, after = process(channel), process(channel)
        await before.write(headers_message(method="GET", end_of_stream=True))
        assert Seen(await before.read()).is_signed
        await after.write(headers_message())
        assert Seen(await after.read()).is_continue
        stopping = asyncio.create_task(server.stop(grace=20))
        assert await before.read() is grpc.aio.EOF
        assert await before.code() == grpc.StatusCode.OK
        await after.write(body_message())
        assert Seen(await after.read()).is_signed
        assert await after.read() is grpc.aio.EOF
        assert await after.code() == grpc.StatusCode.OK
        await stopping
    assert parts.pipeline.responses.waiting == 0


async def test_a_failure_outside_the_stream_object_does_not_end_ok_and_tells_nothing(running):
    def broken():
        raise RuntimeError("canary-secret")

    parts = Parts()
    async with running(parts) as (server, channel):
        server._pipeline = broken
        call = process(channel)
        with contextlib.suppress(grpc.aio.AioRpcError):  # it may have ended already
            await call.write(headers_message())
        assert await call.code() != grpc.StatusCode.OK
        assert "canary" not in (await call.details())


async def test_a_stream_cancelled_by_a_shutdown_does_not_end_ok(running):
    parts = Parts()
    parts.exchange.gate.clear()
    async with running(parts) as (server, channel):
        call = process(channel)
        await call.write(headers_message(method="GET", end_of_stream=True))
        await asyncio.sleep(0.1)
        await server.stop(grace=0.05)
        assert await call.code() != grpc.StatusCode.OK


async def test_a_waiting_stream_finishes_within_the_grace_period(running):
    parts = Parts()
    parts.exchange.gate.clear()
    async with running(parts) as (server, channel):
        call = process(channel)
        await call.write(headers_message(method="GET", end_of_stream=True))
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(server.stop(grace=5))
        await asyncio.sleep(0.05)
        parts.exchange.gate.set()
        assert Seen(await call.read()).is_signed
        await stopping


async def test_the_route_names_the_target_in_the_initial_metadata(running):
    async with running(Parts()) as (_, channel):
        call = process(channel, metadata=((TARGET_METADATA, "unknown"),))
        await call.write(headers_message())
        assert Seen(await call.read()).status == 404


async def test_a_body_larger_than_grpcs_default_limit_is_received(running):
    parts = Parts(max_body_bytes=8 * 2**20)
    async with running(parts) as (_, channel):
        call = process(channel)
        await call.write(headers_message())
        await call.read()
        await call.write(body_message(b"x" * (6 * 2**20)))
        assert Seen(await call.read()).is_signed


async def test_two_servers_do_not_share_a_port(running):
    async with running(Parts()) as (server, _):
        with pytest.raises(OSError, match="cannot listen there"):
            engine.build("auto", transport=clear_text(f"127.0.0.1:{server.ports[0]}"), pipeline=lambda: None)


@pytest.mark.parametrize("service", ["", EXT_PROC_SERVICE])
async def test_health_follows_readiness(running, service):
    async with running(Parts()) as (server, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        await server.set_serving(serving=False)
        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_the_real_grpcurl_lists_services_and_checks_health(running):
    async with running(Parts()) as (server, _):

        async def grpcurl(*arguments):
            command = [find_program("grpcurl"), "-plaintext", f"127.0.0.1:{server.ports[0]}", *arguments]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=20, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert EXT_PROC_SERVICE in await grpcurl("list")
        assert "grpc.health.v1.Health" in await grpcurl("list")
        assert '"SERVING"' in await grpcurl("grpc.health.v1.Health/Check")
        assert "rpc Process" in await grpcurl("describe", EXT_PROC_SERVICE)


async def test_a_bug_in_the_denial_itself_does_not_end_ok_and_tells_nothing(running):
    parts = Parts()
    parts.exchange.failure = Denied(Reason.STS_ACCESS_DENIED, "canary-secret")
    parts.pipeline.refusals.answer = Mock(side_effect=RuntimeError("canary-secret"))
    async with running(parts) as (_, channel):
        for message in (headers_message(), headers_message(token=None)):  # later, and at once
            call = process(channel)
            await call.write(message)
            assert await call.code() != grpc.StatusCode.OK
            assert "canary" not in (await call.details())


async def test_health_is_watched_until_the_end(running):
    async with running(Parts()) as (server, channel):
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        await server.set_serving(serving=False)
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await server.stop(grace=0)
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await watching.read() is not grpc.aio.EOF:
                pass
        assert await watching.code() != grpc.StatusCode.OK


async def test_an_engine_that_serves_has_not_failed(running):
    async with running(Parts()) as (server, channel):
        failed = asyncio.ensure_future(server.failed())
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert not failed.done()
        failed.cancel()


async def test_one_call_that_cannot_be_served_ends_no_other():
    async with _running("completion_queue", Parts()) as (server, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        others = server._health_and_reflection
        begin, others.begin = others.begin, Mock(side_effect=RuntimeError("canary-secret"))
        with structlog.testing.capture_logs() as logs:
            left = stub.Check(health_pb2.HealthCheckRequest())
            await until(lambda: logs)
        assert logs == [{"event": "event_failed", "error": "RuntimeError", "log_level": "error"}]
        others.begin = begin
        left.cancel()
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status
        call = process(channel)
        await call.write(headers_message(token=None))
        assert Seen(await call.read()).status == 401


async def test_an_engine_whose_thread_ends_has_failed_and_can_be_stopped():
    async with _running("completion_queue", Parts()) as (server, channel):
        server._health_and_reflection.begin = Mock(side_effect=SystemExit)
        in_loop, lives_on = server._loop.call_soon_threadsafe, threading.Event()

        def slowly(callback):
            in_loop(callback)
            lives_on.wait(10)

        server._loop = Mock(call_soon_threadsafe=slowly)
        left = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        async with asyncio.timeout(10):
            await server.failed()
            await server.stop(grace=60)
            await server.stop(grace=60)
        assert server._poller.is_alive()  # it was stopped while the thread was ending
        lives_on.set()
        left.cancel()


async def test_no_call_is_asked_for_after_the_end():
    async with _running("completion_queue", Parts()) as (server, _):
        await server.stop(grace=0)
        server._request(server._next_process)
        server._stopping = False
        with pytest.raises(ValueError, match=r"\w"):
            server._request(server._next_process)
        server._stopping = True


async def test_what_comes_when_no_connection_is_left_releases_its_call_and_begins_no_operation():
    parts = Parts()
    server = engine.build("completion_queue", transport=clear_text(), pipeline=lambda: parts.pipeline)
    server._loop = asyncio.get_running_loop()
    calls = []
    for _ in range(2):
        stream = Stream(parts.pipeline, target_name=None)
        calls.append(ProcessCall(Mock(), stream, server._answer_later, server._stop_waiting, SignedCalls()))
    waiting = server._waiting[calls[1]] = asyncio.create_task(asyncio.sleep(60))
    late = [Mock(tag=tag) for tag in (calls[0]._arrived, calls[1]._closed, calls[0]._end_ok, print)]
    queue, server._queue = server._queue, Mock(poll=Mock(side_effect=[*late, QUEUE_SHUTDOWN]))
    server._on_shutdown(None)
    server._queue = queue
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert server._calls_ended.is_set()
    assert abandoned(parts)["opened"] == 2
    assert [call._call.start_server_batch.called for call in calls] == [False, False]
    for call in calls:
        call.end(NO_ANSWER)
    assert [call._call.start_server_batch.called for call in calls] == [False, False]
    await server.stop(grace=0)


async def test_where_this_grpcio_lacks_something_the_other_engine_runs_unless_this_one_was_asked_for(
    monkeypatch,
):
    monkeypatch.setattr(engine.internals, "missing", lambda: "grpcio 0.1 lacks it")
    with pytest.raises(engine.NoSuchEngineError, match=r"grpcio 0\.1 lacks it"):
        engine.build("completion_queue", transport=clear_text(), pipeline=lambda: None)
    with structlog.testing.capture_logs() as logs:
        chosen = engine.build("auto", transport=clear_text(), pipeline=lambda: None)
    assert isinstance(chosen, engine.AioEngine)
    assert [(entry["event"], entry["slower_because"]) for entry in logs] == [
        ("engine_fallback", "grpcio 0.1 lacks it")
    ]
    await chosen.start()
    await chosen.stop(grace=0)


async def test_a_client_that_leaves_before_it_showed_the_upstreams_answer_is_waited_for_no_longer(running):
    parts = Parts(answers="every")
    async with running(parts) as (_, channel):
        call = process(channel)
        await call.write(headers_message())
        assert Seen(await call.read()).is_continue
        await call.write(body_message())
        assert Seen(await call.read()).is_signed
        call.cancel()
        await until(lambda: parts.pipeline.responses.waiting == 0)
    assert abandoned(parts) == {"opened": 0, "deciding": 0, "body": 0}
