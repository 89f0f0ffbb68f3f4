"""A worker gets all revocations before it serves, in each of its processes."""

import asyncio
import contextlib
import signal
import sys
import time

import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from extproc.admin.errors import RefusedError
from extproc.admin.v1 import admin_pb2
from extproc.demo.ports import free_ports
from extproc.grpc_server.service_names import EXT_PROC_SERVICE
from extproc.workers.processes import NewProcesses
from extproc.workers.revocations import RevocationLog
from extproc.workers.spec import ListenSlice
from extproc.workers.worker import Worker
from support.envoy_messages import Seen, headers_message
from support.supervised import PATIENCE, settings, token, until


async def ask(address, bearer):
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stream = channel.stream_stream(f"/{EXT_PROC_SERVICE}/Process")(wait_for_ready=True, timeout=PATIENCE)
        await stream.write(headers_message(method="GET", token=bearer, end_of_stream=True))
        return Seen(await stream.read())


@contextlib.asynccontextmanager
async def running(tmp_path):
    """Run one worker; nothing listens at the address of its STS."""
    port, unused = free_ports(2)
    address = f"127.0.0.1:{port}"
    path = settings(
        tmp_path,
        grpc=address,
        admin=None,
        sts={"endpoint_url": f"http://127.0.0.1:{unused}", "deadline": 1.0},
    )
    revocations = RevocationLog(clock=time.time)
    worker = Worker(
        number=1,
        workers=1,
        listen=ListenSlice((address,)),
        directory=tmp_path,
        starter=NewProcesses([sys.executable, "-m", "extproc", "serve", "--config", str(path)]),
        revocations=revocations,
        on_end=lambda _worker: None,
    )
    keeping = asyncio.create_task(worker.keep_running())
    try:
        yield worker, revocations, address
    finally:
        worker.stop()
        worker.kill()
        await keeping


async def ready(worker):
    await asyncio.to_thread(until, lambda: not worker.unready, "the worker is ready")


async def test_a_revoked_user_is_refused_by_the_next_process_from_its_first_request(tmp_path):
    async with running(tmp_path) as (worker, revocations, address):
        alice, bob = token(tmp_path, "alice"), token(tmp_path, "bob")
        await ready(worker)
        assert (await ask(address, alice)).status == 503  # the token is accepted, and there is no STS
        revocations.add(admin_pb2.RevokeRequest(subject="alice"), Timestamp(seconds=int(time.time()) + 600))
        first = worker._process.pid
        worker._signal(signal.SIGKILL)
        await asyncio.to_thread(until, lambda: worker._process.pid != first, "it is started again")
        # The connection waits for the port, so this is the new process's first request.
        assert (await ask(address, alice)).status == 403
        assert (await ask(address, bob)).status == 503


async def test_a_worker_does_not_serve_before_it_has_the_revocations(tmp_path):
    async with running(tmp_path) as (worker, revocations, address):
        async with revocations.lock:
            await asyncio.to_thread(until, (tmp_path / "1.sock").exists, "the control channel is there")
            await asyncio.sleep(0.5)
            assert worker.control is None
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address.split(":"))
        await ready(worker)
        _, writer = await asyncio.open_connection(*address.split(":"))
        writer.close()
        await writer.wait_closed()


async def test_the_control_channel_revokes_and_reports_what_it_cannot(tmp_path):
    async with running(tmp_path) as (worker, _, address):
        await ready(worker)
        alice = token(tmp_path, "alice")
        with pytest.raises(RefusedError, match="at least one of"):
            await worker.control.call("Revoke", admin_pb2.RevokeRequest())
        by_role = admin_pb2.RevokeRequest(role_arn="arn:aws:iam::1:role/x")
        assert not (await worker.control.call("Revoke", by_role)).HasField("refused_until")
        assert (await ask(address, alice)).status == 503
        answer = await worker.control.call("Revoke", admin_pb2.RevokeRequest(subject="alice"))
        assert answer.refused_until.seconds > time.time() + 23 * 3600
        assert (await ask(address, alice)).status == 403
