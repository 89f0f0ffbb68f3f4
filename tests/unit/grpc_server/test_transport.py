"""What is agreed with gRPC's clients."""

from extproc.grpc_server.transport import Limits, Transport


def test_a_quiet_connection_is_pinged_for_as_long_as_it_lasts():
    limits = Limits(message_bytes=1024, ping_after=60.0, ping_timeout=20.0, pings_apart=5.0)
    options = dict(Transport(addresses=["127.0.0.1:0"], limits=limits).options)
    assert {name: options.get(name) for name in options if "ping" in name or "keepalive" in name} == {
        "grpc.keepalive_time_ms": 60_000,
        "grpc.keepalive_timeout_ms": 20_000,
        "grpc.keepalive_permit_without_calls": 1,
        # gRPC's default ends pings after two without data: a peer that is gone would hold its streams.
        "grpc.http2.max_pings_without_data": 0,
        "grpc.http2.min_ping_interval_without_data_ms": 5_000,
    }
