"""Unix sockets: rights from the first moment, and never in the place of a living one."""

import os
import socket
import stat
import threading

import grpc.aio
import pytest

from extproc.grpc_server import engine
from extproc.grpc_server.sockets import SocketRights, bind_socket
from extproc.grpc_server.transport import Limits, Transport
from support.pipelines import Parts


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s"


def server_at(path, rights=None):
    transport = Transport(
        addresses=[f"unix:{path}"], limits=Limits(message_bytes=2**20), sockets=rights or SocketRights()
    )
    return engine.build("auto", transport=transport, pipeline=lambda: Parts().pipeline)


def listener(path):
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(path))
    bound.listen()
    return bound


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
async def test_the_socket_has_the_mode_whatever_the_umask(path, mode):
    before = os.umask(0o027)
    try:
        server = server_at(path, SocketRights(mode=mode))
    finally:
        assert os.umask(before) == 0o027
    assert stat.S_IMODE(path.stat().st_mode) == mode
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        await channel.channel_ready()
    await server.stop(grace=0)
    assert not path.exists()


def test_nobody_else_may_connect_before_the_rights_are_set(path):
    seen = []

    def bind():
        listener(path).close()
        seen.append(stat.S_IMODE(path.stat().st_mode))
        return 1

    before = os.umask(0)
    try:
        bind_socket(path, SocketRights(mode=0o666), bind)
    finally:
        os.umask(before)
    assert seen == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_socket_gets_its_owner(path):
    bind_socket(path, SocketRights(owner="12345:23456"), lambda: _bound(path))
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)
    path.unlink()
    bind_socket(path, SocketRights(owner=":34567"), lambda: _bound(path))
    assert (path.stat().st_uid, path.stat().st_gid) == (os.geteuid(), 34567)


def test_our_own_group_may_be_given_by_anybody(path):
    bind_socket(path, SocketRights(owner=f":{os.getegid()}"), lambda: _bound(path))
    assert path.stat().st_gid == os.getegid()


def _bound(path):
    listener(path).close()
    return 1


async def test_an_unknown_owner_is_an_error_before_anything_listens(path):
    with pytest.raises(OSError, match="socket_owner no-such-user: no such user or group"):
        server_at(path, SocketRights(owner="no-such-user"))
    assert not path.exists()


async def test_a_living_socket_is_not_replaced(path):
    with listener(path) as living:
        before = path.stat().st_ino
        with pytest.raises(OSError, match=r"listen.grpc unix:.*: another process listens there"):
            server_at(path)
        assert path.stat().st_ino == before
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            living.accept()[0].close()


async def test_a_living_socket_with_a_full_backlog_is_not_replaced(path):
    with listener(path) as living:
        living.listen(0)
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            for client in (first, second):
                client.setblocking(False)
                client.connect_ex(str(path))
            with pytest.raises(OSError, match="another process listens there"):
                server_at(path)


async def test_a_socket_that_a_dead_process_left_is_replaced(path):
    listener(path).close()
    server = server_at(path)
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        await channel.channel_ready()
    await server.stop(grace=0)


async def test_a_file_that_is_no_socket_is_left_alone(path):
    path.write_text("precious")
    with pytest.raises(OSError, match="no socket"):
        server_at(path)
    assert path.read_text() == "precious"


async def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(OSError, match=r"listen.grpc unix:.*absent: No such file or directory"):
        server_at(tmp_path / "absent" / "s")


def test_of_two_servers_that_start_at_once_one_listens(path):
    outcomes = []
    together = threading.Barrier(2)

    def start():
        together.wait()
        try:
            bound = []
            bind_socket(path, SocketRights(), lambda: bound.append(listener(path)) or 1)
            outcomes.append(bound[0])
        except OSError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    living = [outcome for outcome in outcomes if isinstance(outcome, socket.socket)]
    assert len(living) == 1
    assert "another process listens there" in outcomes
    living[0].close()
