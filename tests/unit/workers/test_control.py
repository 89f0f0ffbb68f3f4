"""The control channel: answers, refusals, and every way in which a worker may fail to answer."""

import asyncio
import contextlib

import pytest

from extproc.admin.errors import NoAnswerError, RefusedError
from extproc.admin.v1 import admin_pb2
from extproc.workers import control
from extproc.workers.control import Control, ControlServer

STATUS = admin_pb2.GetStatusRequest()


class Servicer:
    def __init__(self):
        self.waits = asyncio.Event()

    async def GetStatus(self, _request, context):  # noqa: N802 - as in admin.proto
        assert (context.peer(), context.auth_context()) == ("unix:", {})
        return admin_pb2.GetStatusResponse(workers=[admin_pb2.WorkerStatus(worker=3)])

    async def Revoke(self, request, _context):  # noqa: N802 - as in admin.proto
        raise RefusedError(f"no such subject: {request.subject}")

    async def Reload(self, _request, _context):  # noqa: N802 - as in admin.proto
        raise ValueError("s3cret")

    async def GetMetrics(self, _request, _context):  # noqa: N802 - as in admin.proto
        await self.waits.wait()


@pytest.fixture
async def path(tmp_path):
    path = tmp_path / "1.sock"
    async with ControlServer(Servicer(), str(path)):
        assert path.stat().st_mode & 0o777 == 0o600
        yield str(path)
    assert not path.exists()


async def test_an_answer_comes_back(path):
    (status,) = (await Control(path).call("GetStatus", STATUS)).workers
    assert status.worker == 3


async def test_a_refusal_has_its_text(path):
    with pytest.raises(RefusedError, match=r"^no such subject: alice$"):
        await Control(path).call("Revoke", admin_pb2.RevokeRequest(subject="alice"))


async def test_of_a_programming_error_nothing_is_told(path):
    with pytest.raises(NoAnswerError, match=r"^INTERNAL$"):
        await Control(path).call("Reload", admin_pb2.ReloadRequest())


async def test_an_answer_that_takes_too_long_is_none(path):
    with pytest.raises(NoAnswerError, match=r"^DEADLINE_EXCEEDED$"):
        await Control(path).call("GetMetrics", admin_pb2.GetMetricsRequest(), within=0.05)


async def test_a_server_that_ends_ends_its_calls(tmp_path):
    path = str(tmp_path / "1.sock")
    async with ControlServer(Servicer(), path):
        call = asyncio.create_task(Control(path).call("GetMetrics", admin_pb2.GetMetricsRequest()))
        await Control(path).call("GetStatus", STATUS)
    with pytest.raises(NoAnswerError, match=r"^UNAVAILABLE$"):
        await call


async def test_without_a_socket_there_is_no_answer_unless_it_is_waited_for(tmp_path):
    path = tmp_path / "1.sock"
    with pytest.raises(NoAnswerError, match=r"^UNAVAILABLE$"):
        await Control(str(path)).call("GetStatus", STATUS)
    with pytest.raises(NoAnswerError, match=r"^DEADLINE_EXCEEDED$"):
        await Control(str(path)).call("GetStatus", STATUS, within=0.05, wait_for_ready=True)
    waits = asyncio.create_task(Control(str(path)).call("GetStatus", STATUS, wait_for_ready=True))
    await asyncio.sleep(0)
    async with ControlServer(Servicer(), str(path)):
        assert (await waits).workers[0].worker == 3


@pytest.mark.parametrize(
    "sent", [b"", b"\0", b"\0\0\0\4Nope", b"\0\0\0\1\xff", b"\xff\xff\xff\xff", b"\0\0\0\11GetStatus"]
)
async def test_what_is_no_request_does_not_end_the_server(path, sent):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(sent)
    writer.write_eof()
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()
    assert (await Control(path).call("GetStatus", STATUS)).workers[0].worker == 3


async def test_an_answer_that_is_too_large_is_none(path, monkeypatch):
    monkeypatch.setattr(control, "_MAX_MESSAGE", 1)
    with pytest.raises(NoAnswerError, match=r"^UNAVAILABLE$"):
        await Control(path).call("GetStatus", STATUS)


@pytest.mark.parametrize("sent", [b"", b"\0\xff", b"\1\xff", b"\2\xff", b"\3"])
async def test_what_is_no_answer_is_an_error_of_the_channel(tmp_path, sent):
    async def answer(_reader, writer):
        writer.write(len(sent).to_bytes(4, "big") + sent)
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "1.sock"):
        with pytest.raises((NoAnswerError, RefusedError)):
            await Control(str(tmp_path / "1.sock")).call("GetStatus", STATUS)
