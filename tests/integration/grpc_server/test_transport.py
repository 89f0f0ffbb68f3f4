"""The gRPC listener on the wire: TLS, who is let in, certificates that change, and limits."""

import asyncio
import contextlib
import contextvars
import subprocess

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.demo.stack import find_program
from extproc.grpc_server import engine
from extproc.grpc_server.certificates import CertificateFiles
from extproc.grpc_server.channel import ClientTls, connect, tls_to_own_server
from extproc.grpc_server.service_names import EXT_PROC_SERVICE
from extproc.grpc_server.transport import Limits, Transport
from support.certificates import LOCAL, Authority, dns, uri
from support.envoy_messages import Seen, body_message, headers_message
from support.pipelines import Parts

ENVOY = "spiffe://example.org/envoy"
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Files:
    """What lies on the server's disk and on its clients'."""

    def __init__(self, directory):
        self.authority = Authority(directory)
        self.stranger = Authority(directory, "stranger")
        self.server = self.authority.issue("server", *LOCAL)
        self.envoy = self.authority.issue("envoy", uri(ENVOY), dns("envoy.example.org"))

    def certificates(self, *, client_ca=True):
        return CertificateFiles(
            certificate=self.server.certificate,
            private_key=self.server.key,
            client_ca=self.authority.certificate if client_ca else None,
        )

    def channel(self, port, pair=None, *, authority=None):
        credentials = grpc.ssl_channel_credentials(
            (authority or self.authority).certificate.read_bytes(),
            pair.key.read_bytes() if pair else None,
            pair.certificate.read_bytes() if pair else None,
        )
        # Channels of one process share connections to the same place; each is to make its own.
        return grpc.aio.secure_channel(
            f"localhost:{port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)]
        )


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


ENGINE = contextvars.ContextVar("engine", default="auto")


@pytest.fixture(autouse=True, params=["completion_queue", "aio"])
def _engine(request):
    reset = ENGINE.set(request.param)
    yield
    ENGINE.reset(reset)


@contextlib.asynccontextmanager
async def listening(
    certificates=None,
    *,
    addresses=("127.0.0.1:0",),
    allowed_clients=(),
    limits=None,
    parts=None,
    started=None,
):
    parts, started = parts or Parts(), [] if started is None else started
    transport = Transport(
        addresses=addresses,
        limits=limits or Limits(message_bytes=2**20),
        certificates=certificates,
        allowed_clients=allowed_clients,
    )

    def pipeline():
        started.append(transport)
        return parts.pipeline

    server = engine.build(ENGINE.get(), transport=transport, pipeline=pipeline)
    await server.start()
    await server.set_serving(serving=True)
    try:
        yield server
    finally:
        await server.stop(grace=0)


def process(channel, metadata=()):
    return channel.stream_stream(f"/{EXT_PROC_SERVICE}/Process")(metadata=metadata)


async def signed(channel):
    """Have one request signed."""
    call = process(channel)
    await call.write(headers_message())
    assert Seen(await call.read()).is_continue
    await call.write(body_message())
    assert Seen(await call.read()).is_signed
    assert await call.code() == grpc.StatusCode.OK


async def refused(channel, metadata=()):
    """The status of a stream that got no answer at all."""
    call = process(channel, metadata)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(headers_message())
        assert await call.read() is grpc.aio.EOF
    return await call.code()


async def healthy(channel):
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    return answer.status == health_pb2.HealthCheckResponse.SERVING


async def grpcurl(*arguments):
    return await asyncio.to_thread(
        subprocess.run,
        [find_program("grpcurl"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


async def test_a_request_is_signed_over_tls(files):
    async with (
        listening(files.certificates(client_ca=False)) as server,
        files.channel(server.ports[0]) as channel,
    ):
        await signed(channel)


async def test_a_client_that_trusts_another_authority_gets_no_connection(files):
    async with (
        listening(files.certificates(client_ca=False)) as server,
        files.channel(server.ports[0], authority=files.stranger) as channel,
    ):
        assert await refused(channel) == UNAVAILABLE


async def test_clear_text_gets_no_connection_where_tls_is_spoken(files):
    async with (
        listening(files.certificates(client_ca=False)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.ports[0]}") as channel,
    ):
        assert await refused(channel) == UNAVAILABLE


async def test_without_a_client_certificate_of_the_authority_there_is_no_connection(files):
    async with listening(files.certificates()) as server:
        async with files.channel(server.ports[0]) as channel:
            assert await refused(channel) == UNAVAILABLE
        async with files.channel(server.ports[0], files.stranger.issue("envoy2", uri(ENVOY))) as channel:
            assert await refused(channel) == UNAVAILABLE
        async with files.channel(server.ports[0], files.envoy) as channel:
            await signed(channel)


async def test_only_allowed_clients_get_signatures_and_others_still_see_health(files):
    async with listening(files.certificates(), allowed_clients=[ENVOY]) as server:
        async with files.channel(server.ports[0], files.envoy) as channel:
            await signed(channel)
        other = files.authority.issue("other", uri(ENVOY + "2"), dns("spiffe.example.org"))
        async with files.channel(server.ports[0], other) as channel:
            assert await refused(channel) == grpc.StatusCode.PERMISSION_DENIED
            assert await healthy(channel)
        nameless = files.authority.issue(
            ENVOY, file_name="nameless"
        )  # the right name, but as the common name
        async with files.channel(server.ports[0], nameless) as channel:
            assert await refused(channel) == grpc.StatusCode.PERMISSION_DENIED


async def test_a_refused_client_hears_why_only_after_its_first_message(files):
    """A stream that ends before is reset while the client writes, and its gRPC may then say INTERNAL."""
    async with (
        listening(files.certificates(), allowed_clients=[ENVOY + "2"]) as server,
        files.channel(server.ports[0], files.envoy) as channel,
    ):
        call = process(channel)
        await call.wait_for_connection()
        assert await healthy(channel)  # whatever the server had to say by itself has arrived
        assert not call.done()
        await call.write(headers_message())
        assert await call.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_the_real_grpcurl_connects_with_a_client_certificate_only(files):
    async with listening(files.certificates()) as server:
        at = f"localhost:{server.ports[0]}"
        check = (at, "grpc.health.v1.Health/Check")
        ca = ("-cacert", files.authority.certificate)
        ours = ("-cert", files.envoy.certificate, "-key", files.envoy.key)
        done = await grpcurl(*ca, *ours, *check)
        assert (done.returncode, '"SERVING"' in done.stdout) == (0, True), done.stderr
        assert (await grpcurl(*ca, *ours, at, "list")).returncode == 0
        for arguments in (ca, ("-cacert", files.stranger.certificate, *ours), ("-plaintext",)):
            assert (await grpcurl("-connect-timeout", "3", *arguments, *check)).returncode != 0


async def test_a_new_certificate_is_served_and_running_streams_go_on(files):
    renewed = Authority(files.authority.directory, "renewed")
    parts = Parts()
    addresses = ["127.0.0.1:0", "127.0.0.1:0"]
    async with (
        listening(files.certificates(client_ca=False), addresses=addresses, parts=parts) as server,
        files.channel(server.ports[0]) as old,
    ):
        call = process(old)
        await call.write(headers_message())
        assert Seen(await call.read()).is_continue
        renewed.issue("fresh", *LOCAL).copy_to(files.server)
        for port in server.ports:  # every address has it, not only the first that was asked
            async with files.channel(port, authority=renewed) as fresh:
                await signed(fresh)
            async with files.channel(port) as late:
                assert await refused(late) == UNAVAILABLE
        await call.write(body_message())
        assert Seen(await call.read()).is_signed
        assert await call.code() == grpc.StatusCode.OK


async def test_a_new_client_authority_is_asked_for_at_the_next_handshake(files):
    async with listening(files.certificates()) as server:
        async with files.channel(server.ports[0], files.envoy) as channel:
            await signed(channel)
        ours = files.authority.certificate.read_bytes()
        files.authority.certificate.write_bytes(files.stranger.certificate.read_bytes())
        later = files.stranger.issue("envoy-later", uri(ENVOY))
        (files.authority.directory / "ours.pem").write_bytes(ours)
        trusted = type("Trusted", (), {"certificate": files.authority.directory / "ours.pem"})
        async with files.channel(server.ports[0], later, authority=trusted) as channel:
            await signed(channel)
        async with files.channel(server.ports[0], files.envoy, authority=trusted) as channel:
            assert await refused(channel) == UNAVAILABLE


@pytest.mark.parametrize("broken", ["garbage", "missing", "other key", "garbage authority"])
async def test_broken_new_files_leave_the_old_certificate_in_use(files, broken):
    certificates = files.certificates()
    async with listening(certificates) as server:
        trusted = files.authority.directory / "trusted.pem"
        trusted.write_bytes(files.authority.certificate.read_bytes())
        if broken == "garbage":
            files.server.certificate.write_text("garbage")
        elif broken == "missing":
            files.server.key.unlink()
        elif broken == "other key":
            files.server.key.write_bytes(files.envoy.key.read_bytes())
        else:
            files.authority.certificate.write_text("garbage")
        authority = type("Trusted", (), {"certificate": trusted})
        async with files.channel(server.ports[0], files.envoy, authority=authority) as channel:
            await signed(channel)
        assert certificates.broken()
        files.authority.certificate.write_bytes(trusted.read_bytes())
        files.authority.issue("repaired", *LOCAL).copy_to(files.server)
        async with files.channel(server.ports[0], files.envoy) as channel:
            await signed(channel)
        assert not certificates.broken()


async def test_a_message_larger_than_the_limit_is_not_answered(files):
    limits = Limits(message_bytes=64 * 1024)
    async with (
        listening(limits=limits) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.ports[0]}") as channel,
    ):
        call = process(channel)
        await call.write(headers_message())
        assert Seen(await call.read()).is_continue
        await call.write(body_message(b"x" * 70_000))
        assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_compressed_message_is_as_large_as_what_it_holds(files):
    limits = Limits(message_bytes=64 * 1024)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        listening(limits=limits) as server,
        grpc.aio.insecure_channel(
            f"127.0.0.1:{server.ports[0]}", options=options, compression=grpc.Compression.Gzip
        ) as channel,
    ):
        call = process(channel)
        await call.write(headers_message())
        assert Seen(await call.read()).is_continue
        await call.write(body_message(b"x" * 1_000_000))
        assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await signed(channel)


async def test_oversized_metadata_of_a_stream_is_refused():
    async with (
        listening() as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.ports[0]}") as channel,
    ):
        assert await refused(channel, (("x-filler", "x" * 20_000),)) == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await healthy(channel)


async def test_more_streams_than_a_connection_may_have_wait_for_their_turn():
    parts, started = Parts(), []
    parts.exchange.gate.clear()
    limits = Limits(message_bytes=2**20, streams=3)
    async with (
        listening(limits=limits, parts=parts, started=started) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.ports[0]}") as channel,
    ):
        assert await healthy(channel)  # the limit is known from here on
        calls = [asyncio.create_task(_signed_get(channel)) for _ in range(10)]
        await asyncio.sleep(0.5)
        assert len(started) == 3
        assert not any(call.done() for call in calls)
        parts.exchange.gate.set()
        # Those whose turn comes while the server has not quite forgotten the first may be refused then.
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert answers.count(True) >= 3
        await signed(channel)


async def _signed_get(channel):
    call = process(channel)
    await call.write(headers_message(method="GET", end_of_stream=True))
    return Seen(await call.read()).is_signed


def test_our_own_channel_speaks_tls_with_and_without_a_client_certificate(files):
    async def probe(transport_files, tls):
        async with listening(transport_files) as server:
            return await asyncio.to_thread(check, f"0.0.0.0:{server.ports[0]}", tls)

    def check(address, tls):
        with connect(address, tls) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            return stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status

    given = ClientTls(
        ca=files.authority.certificate, certificate=files.envoy.certificate, private_key=files.envoy.key
    )
    own = (files.server.certificate, files.server.key)
    for certificates, tls in (
        (None, None),
        (files.certificates(client_ca=False), ClientTls(ca=files.authority.certificate)),
        (files.certificates(), given),
        (files.certificates(client_ca=False), tls_to_own_server(*own, None)),
        (files.certificates(), tls_to_own_server(*own, files.authority.certificate)),
    ):
        assert asyncio.run(probe(certificates, tls)) == health_pb2.HealthCheckResponse.SERVING
