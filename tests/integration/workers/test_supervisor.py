"""A supervisor and its workers as processes that serve, are killed, drain or lose their supervisor."""

import contextlib
import json
import os
import signal
import socket
from pathlib import Path

import grpc
import pytest

from extproc.demo.ports import free_ports
from extproc.grpc_server.service_names import EXT_PROC_SERVICE
from support import forked
from support.envoy_messages import Seen, headers_message
from support.supervised import PATIENCE, alive, named, serving, settings, until


def ask(address):
    """Send one ext_proc stream over its own connection; return the response's status."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options=options) as channel:
        process = channel.stream_stream(f"/{EXT_PROC_SERVICE}/Process")
        message = headers_message(method="GET", token=None, end_of_stream=True)
        return Seen(next(process(iter([message]), timeout=10, wait_for_ready=True))).status


@contextlib.contextmanager
def ready(directory, *, each=False):
    """Two workers on one port, or with an address each; ``served.grpc``: the addresses."""
    *grpc, admin = (f"127.0.0.1:{port}" for port in free_ports(3 if each else 2))
    path = settings(directory, grpc=grpc if each else grpc[0], admin=admin)
    with serving(path, admin=admin) as served:
        served.grpc = grpc
        served.wait_ready()
        yield served


@pytest.fixture
def addresses():
    return [f"127.0.0.1:{port}" for port in free_ports(3)]


@pytest.fixture
def shared(tmp_path):
    """Two workers on one port."""
    with ready(tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """Two workers on one port, which a test leaves as it found them."""
    with ready(tmp_path_factory.mktemp("lasting")) as served:
        yield served


def fork_server(served):
    return named(served.process.pid, "extproc-fork").get("")


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def counted(served):
    return {number for number, value in served.metric("extproc_requests_total").items() if value}


def test_two_workers_share_one_port_and_their_metrics_are_merged(lasting):
    def both_have_answered():
        assert ask(*lasting.grpc) == 401
        return counted(lasting) == {1, 2}

    until(both_have_answered, "the kernel gave all connections to one worker")
    assert lasting.get("/metrics")[1].count("# TYPE extproc_requests_total counter") == 1
    assert lasting.metric("extproc_worker_ready") == {1: 1.0, 2: 1.0}


def test_two_workers_have_a_unix_socket_each(tmp_path, addresses):
    sockets = [f"unix:{tmp_path}/{name}.sock" for name in "ab"]
    with serving(settings(tmp_path, grpc=sockets, admin=addresses[2]), admin=addresses[2]) as served:
        served.wait_ready()
        assert [ask(address) for address in sockets] == [401, 401]
        assert counted(served) == {1, 2}


def test_one_worker_is_one_process_that_listens_on_every_address(tmp_path, addresses):
    path = settings(tmp_path, grpc=addresses[:2], admin=addresses[2])
    with serving(path, admin=addresses[2], workers=1) as served:
        served.wait_ready()
        assert [ask(address) for address in addresses[:2]] == [401, 401]
        assert served.pids() == {}
        assert "worker" not in served.get("/metrics")[1]


def test_of_two_workers_with_an_address_each_a_killed_one_is_restarted_while_the_other_serves(tmp_path):
    with ready(tmp_path, each=True) as served:
        assert ask(served.grpc[1]) == 401
        assert counted(served) == {2}
        assert ask(served.grpc[0]) == 401
        assert counted(served) == {1, 2}
        before = served.pids()
        os.kill(before[1], signal.SIGKILL)
        assert ask(served.grpc[1]) == 401
        until(lambda: "degraded: worker 1: " in served.get("/readyz")[1], served.log)
        assert served.get("/readyz")[0] == 200
        assert ask(served.grpc[1]) == 401
        served.wait_ready()
        after = served.pids()
        assert after[2] == before[2]
        assert after[1] != before[1]
        assert ask(served.grpc[0]) == 401
        assert served.metric("extproc_worker_restarts_total") == {1: 1.0, 2: 0.0}
        assert '"status": "SIGKILL"' in served.log


def test_without_any_ready_worker_the_reasons_are_shown(lasting):
    pids = lasting.pids()
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    status, text = until(lambda: (answer := lasting.get("/readyz"))[0] == 503 and answer, lasting.log)
    assert (status, text) == (503, "worker 1: does not answer\nworker 2: does not answer\n")
    for pid in pids.values():
        os.kill(pid, signal.SIGCONT)
    lasting.wait_ready()
    assert lasting.pids() == pids


def test_sigterm_drains_all_workers_exits_0_and_removes_the_control_sockets_that_only_the_owner_can_use(
    tmp_path, monkeypatch
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with ready(tmp_path) as served:
        pids = served.pids()
        assert len(pids) == 2
        (directory,) = temporary.glob("extproc-*")
        assert sorted(file.name for file in directory.iterdir()) == ["1.sock", "2.sock"]
        assert directory.stat().st_mode & 0o777 == 0o700
        served.process.terminate()
        assert served.process.wait(PATIENCE) == 0
        assert not any(alive(pid) for pid in pids.values())
        stopped = [json.loads(line) for line in served.log.splitlines() if '"event": "stopped"' in line]
        assert sorted(line.get("worker", 0) for line in stopped) == [0, 1, 2]  # 0: the supervisor itself
        assert not directory.exists()


def test_a_worker_that_does_not_drain_is_killed_and_the_exit_status_says_so(tmp_path, addresses):
    path = settings(tmp_path, grpc=addresses[0], admin=addresses[2], drain_seconds=0)
    with serving(path, admin=addresses[2]) as served:
        served.wait_ready()
        pids = served.pids()
        os.kill(pids[2], signal.SIGSTOP)
        served.process.terminate()
        assert served.process.wait(PATIENCE) == 1
        assert not any(alive(pid) for pid in pids.values())
        assert "workers did not drain: SIGKILL" in served.log


def test_workers_are_forks_of_one_process_and_all_end_when_their_supervisor_is_killed(shared):
    pids, server = shared.pids(), fork_server(shared)
    assert len(pids) == 2
    assert {parent(pid) for pid in pids.values()} == {server}
    assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1  # gRPC would have threads
    shared.process.kill()
    shared.process.wait()
    until(lambda: not any(alive(pid) for pid in (server, *pids.values())), shared.log)
    assert shared.log.count('"event": "stopped"') == 2  # they drained


def test_sigterm_before_the_workers_are_up_exits_0_too(tmp_path, addresses):
    path = settings(tmp_path, grpc=addresses[0], admin=addresses[2])
    with serving(path, admin=addresses[2]) as served:
        until(served.pids, served.log)
        pids = served.pids()
        served.process.terminate()
        assert served.process.wait(PATIENCE) == 0, served.log
        assert not any(alive(pid) for pid in pids.values())


@pytest.mark.parametrize("both", [True, False])
def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path, addresses, both):
    taken = addresses[1]
    host, _, port = taken.rpartition(":")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # it would even share the port
        other.bind((host, int(port)))
        other.listen()
        grpc_setting = addresses[:2] if both else taken
        path = settings(tmp_path, grpc=grpc_setting, admin=addresses[2])
        with serving(path, admin=addresses[2]) as served:
            assert served.process.wait(PATIENCE) == 1
            assert f"extproc: listen.grpc {taken}: cannot listen there; does another process?" in served.log
            assert "worker_ended" not in served.log


def test_workers_that_never_become_ready_and_end_end_the_supervisor(tmp_path, addresses):
    sockets = [f"unix:{tmp_path}/missing/{name}.sock" for name in "ab"]
    path = settings(tmp_path, grpc=sockets, admin=addresses[2])
    with serving(path, admin=addresses[2]) as served:
        assert served.process.wait(PATIENCE) == 1
        assert "missing/a.sock: directory " in served.log
        assert "extproc: no worker became ready (exit status 1, exit status 1)" in served.log


def test_one_worker_that_cannot_start_does_not_end_the_others(tmp_path, addresses):
    sockets = [f"unix:{tmp_path}/a.sock", f"unix:{tmp_path}/missing/b.sock"]
    path = settings(tmp_path, grpc=sockets, admin=addresses[2])
    with serving(path, admin=addresses[2]) as served:
        until(lambda: served.metric("extproc_worker_restarts_total").get(2, 0) >= 2, served.log)
        assert ask(sockets[0]) == 401
        assert "degraded: worker 2: " in served.get("/readyz")[1]
        (tmp_path / "missing").mkdir()
        served.wait_ready()
        assert ask(sockets[1]) == 401


@pytest.mark.parametrize(
    ("grpc_setting", "message"),
    [
        ("unix:/tmp/x.sock", "listen.grpc: 2 workers cannot share a Unix socket"),
        (["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], "listen.grpc: 3 addresses for 2 workers"),
    ],
)
def test_addresses_that_cannot_be_split_are_refused(tmp_path, grpc_setting, message):
    path = settings(tmp_path, grpc=grpc_setting, admin=None)
    done = forked.run(["-m", "extproc", "serve", "--config", str(path), "--workers", "2"], PATIENCE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)


def test_workers_outlive_the_fork_server_and_are_restarted_without_it(tmp_path, addresses):
    path = settings(tmp_path, grpc=addresses[:2], admin=addresses[2])
    with serving(path, admin=addresses[2]) as served:
        served.wait_ready()
        before = served.pids()
        os.kill(fork_server(served), signal.SIGKILL)
        os.kill(before[1], signal.SIGKILL)
        assert ask(addresses[1]) == 401
        until(lambda: served.metric("extproc_worker_restarts_total").get(1) == 1.0, served.log)
        served.wait_ready()
        restarted = served.pids()[1]
        assert parent(restarted) == served.process.pid
        assert ask(addresses[0]) == 401
        assert served.log.count('"event": "fork_server_ended"') == 1
        served.process.terminate()
        assert served.process.wait(PATIENCE) == 0
        assert not any(alive(pid) for pid in (before[2], restarted))


def test_a_signal_to_all_processes_drains_them(tmp_path, addresses):
    path = settings(tmp_path, grpc=addresses[0], admin=addresses[2])
    with serving(path, admin=addresses[2]) as served:
        served.wait_ready()
        pids = [fork_server(served), *served.pids().values()]
        for pid in (*pids, served.process.pid):  # as Ctrl-C does, and a service manager
            os.kill(pid, signal.SIGINT)
        assert served.process.wait(PATIENCE) == 0, served.log
        assert not any(alive(pid) for pid in pids)
        assert served.log.count('"event": "stopped"') == 3
