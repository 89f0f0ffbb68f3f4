"""Where our own clients connect to, for the address that a server listens at."""

import grpc
import pytest

from extproc.grpc_server.channel import connect


@pytest.mark.parametrize(
    ("listens_at", "target"),
    [
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("[::]:50051", "[::1]:50051"),
        ("10.0.0.7:50051", "10.0.0.7:50051"),
        ("unix:/run/extproc.sock", "unix:/run/extproc.sock"),
    ],
)
def test_a_listener_at_every_address_is_reached_over_loopback(monkeypatch, listens_at, target):
    targets = []
    monkeypatch.setattr(grpc, "insecure_channel", lambda at, **_: targets.append(at))
    connect(listens_at)
    assert targets == [target]
