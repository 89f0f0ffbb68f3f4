"""The admin API of several workers together, as ``extproc admin`` shows it."""

import json
import os
import signal

import pytest
import yaml

from extproc.demo.ports import free_ports
from support import forked
from support.supervised import PATIENCE, serving, settings, until


@pytest.fixture
def served(tmp_path):
    first, second, admin = (f"127.0.0.1:{port}" for port in free_ports(3))
    path = settings(
        tmp_path, grpc=[first, second], admin=admin, listen={"admin_grpc": f"unix:{tmp_path}/admin.sock"}
    )
    with serving(path, admin=admin) as running:
        running.wait_ready()
        yield running


def admin(tmp_path, *arguments):
    command = ["-m", "extproc", "admin", *arguments, "--json", "--address", f"unix:{tmp_path}/admin.sock"]
    done = forked.run(command, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_status_and_metrics_cover_every_worker(served, tmp_path):
    workers = admin(tmp_path, "status")["workers"]
    assert [worker["worker"] for worker in workers] == [1, 2]
    assert {worker["pid"] for worker in workers} == set(served.pids().values())
    assert all(worker["ready"] for worker in workers)


def test_a_revocation_reaches_all_workers_and_one_that_restarts(served, tmp_path):
    admin(tmp_path, "revoke", "--subject", "mallory")
    assert [worker["revocations"] for worker in admin(tmp_path, "status")["workers"]] == [1, 1]
    old = served.pids()[2]
    os.kill(old, signal.SIGKILL)
    until(lambda: served.pids().get(2, old) != old, "worker 2 was not started again")
    served.wait_ready()
    assert [worker["revocations"] for worker in admin(tmp_path, "status")["workers"]] == [1, 1]


def test_a_hangup_reloads_every_worker_and_a_bad_file_is_shown(served, tmp_path):
    path = tmp_path / "extproc.yaml"
    good = path.read_text()
    document = yaml.safe_load(good)
    document["targets"][0]["host"] = "NOT A HOST"
    path.write_text(yaml.safe_dump(document))
    served.process.send_signal(signal.SIGHUP)
    until(lambda: served.metric("extproc_config_last_reload_successful") == {1: 0.0, 2: 0.0}, "not reloaded")
    status, text = until(
        lambda: (seen := served.get("/readyz")) and "worker 2: configuration" in seen[1] and seen, "not shown"
    )
    assert status == 200
    assert "targets[0].host" in text
    path.write_text(good)
    assert admin(tmp_path, "reload") == {"problems": []}
    assert served.metric("extproc_config_last_reload_successful") == {1: 1.0, 2: 1.0}
