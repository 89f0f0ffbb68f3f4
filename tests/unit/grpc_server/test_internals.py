"""What the completion queue engine uses of grpcio: pinned, so that an upgrade fails here first."""

import grpc
import pytest
from grpc._cython import cygrpc

from extproc.grpc_server.completion_queue import internals


def test_the_installed_grpcio_has_all_that_the_engine_uses():
    assert internals.missing() is None


@pytest.mark.parametrize("version", ["1.73.1", "1.90.0", "2.0.0", "nightly"])
def test_versions_that_were_not_tested_are_not_used(monkeypatch, version):
    monkeypatch.setattr(grpc, "__version__", version)
    assert "not one of the versions" in internals.missing()


def test_a_missing_part_is_named(monkeypatch):
    monkeypatch.delattr(cygrpc, "ReceiveCloseOnServerOperation")
    assert "ReceiveCloseOnServerOperation" in internals.missing()
