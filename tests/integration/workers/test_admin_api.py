"""The admin API of several workers together, as ``extproc admin`` shows it."""

import json
import os
import signal

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main
from extproc.demo.ports import free_ports
from support.supervised import serving, settings, until


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def served(directory):
    first, second, admin = (f"127.0.0.1:{port}" for port in free_ports(3))
    path = settings(
        directory, grpc=[first, second], admin=admin, listen={"admin_grpc": f"unix:{directory}/admin.sock"}
    )
    with serving(path, admin=admin) as running:
        running.wait_ready()
        yield running


def admin(directory, *arguments):
    command = ["admin", *arguments, "--json", "--address", f"unix:{directory}/admin.sock"]
    return json.loads(CliRunner().invoke(main, command, catch_exceptions=False).stdout)


def test_status_and_metrics_cover_every_worker(served, directory):
    workers = admin(directory, "status")["workers"]
    assert [worker["worker"] for worker in workers] == [1, 2]
    assert {worker["pid"] for worker in workers} == set(served.pids().values())
    assert all(worker["ready"] for worker in workers)


def test_a_revocation_reaches_all_workers_and_one_that_restarts(served, directory):
    admin(directory, "revoke", "--subject", "mallory")
    assert [worker["revocations"] for worker in admin(directory, "status")["workers"]] == [1, 1]
    old = served.pids()[2]
    os.kill(old, signal.SIGKILL)
    until(lambda: served.pids().get(2, old) != old, "worker 2 was not started again")
    served.wait_ready()
    assert [worker["revocations"] for worker in admin(directory, "status")["workers"]] == [1, 1]


def test_a_hangup_reloads_every_worker_and_a_bad_file_is_shown(served, directory):
    path = directory / "extproc.yaml"
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
    assert admin(directory, "reload") == {"problems": []}
    assert served.metric("extproc_config_last_reload_successful") == {1: 1.0, 2: 1.0}
