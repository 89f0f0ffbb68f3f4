"""Instructions of a warm request, counted by callgrind: the same on a busy machine as on an idle one.

``python -m bench.instructions`` starts the real server (gRPC listener, engine, telemetry) under valgrind, opens
sessions, and counts 300 requests of one user and of many in turn, by library; and Python's own instructions by
function (``bench.bytecodes``). Only STS is answered in the process: a warm request does not ask it. The clock of
signatures goes by requests: with valgrind's own speed, what the requests of one second share would be shared by few.

``--console`` counts requests without a console and with one that asks as it does while its pages are open; and what
one look of the console costs, which comes by the clock and not with requests. The audit log's thread writes as much
at a time as there is, so its cost differs from run to run by more than the console's: requests are counted without it.
"""

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from bench import bytecodes, callgrind
from bench.messages import BODY_MESSAGE, head_message
from bench.rig import COUNTED, UNCOUNTED, Rig
from extproc.admin.client import AdminClient
from extproc.commands.serve import tune_interpreter
from extproc.grpc_server import engine_choice
from extproc.grpc_server.channel import connect
from extproc.request import way

_METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
KINDS = ("uncounted", "counted")
_WARM_UP = 150  # requests before those that are counted
_LOOK_EVERY = 30  # requests: the console looks two and a half times a second
_LOOKS = 20
_NAMES = {
    "uncounted": "uncounted target",
    "counted": "counted target",
    "unwatched": "counted target, without a console",
    "watched": "counted target, with a console",
    "looks": "one look of the console",
}
_FUNCTIONS = 20  # shown, of our own
_COMMITTED = Path(__file__).parents[2] / "bench" / "instructions.json"


async def _serve(directory: Path, users: int, kind: str) -> None:
    """Serve on a Unix socket until SIGTERM; write the users' tokens first."""
    admin_grpc = f"unix:{directory}/admin.sock" if kind in ("watched", "looks") else None
    rig = Rig(
        directory,
        listen={"grpc": f"unix:{directory}/grpc.sock", "admin": None, "admin_grpc": admin_grpc},
        audit={"output": f"{directory}/audit.log" if kind == "looks" else None},
        observe_upstream="never",  # so that every request costs the same
        targets=[UNCOUNTED if kind == "uncounted" else COUNTED],
    )
    (directory / "tokens.json").write_text(json.dumps([rig.token("ES256") for _ in range(users)]))
    began, signed = time.time(), itertools.count()
    rig.app._state.signer._clock = lambda: began + next(signed) / bytecodes.RATE
    tune_interpreter()
    await rig.app.run()


class _Server:
    """The server under callgrind."""

    def __init__(self, directory: Path, users: int, kind: str) -> None:
        self._kind = kind
        self._counts = directory / "callgrind.out"
        serve = [sys.executable, "-m", "bench.instructions", "serve", str(directory), str(users), kind]
        engine_choice.prepare("auto")  # as the server does: the environment is inherited
        self._process = subprocess.Popen(callgrind.command(self._counts, serve))
        self._channel = grpc.insecure_channel(f"unix:{directory}/grpc.sock")
        grpc.channel_ready_future(self._channel).result(timeout=callgrind.READY_WITHIN)
        self.tokens: list[str] = json.loads((directory / "tokens.json").read_text())
        self._call = self._channel.stream_stream(_METHOD)

    def request(self, head: bytes) -> None:
        """Send one request as Envoy does: its head, and its body once it is asked for."""
        body_asked_for = threading.Event()

        def messages() -> Iterator[bytes]:
            yield head
            body_asked_for.wait()
            yield BODY_MESSAGE

        answers = self._call(messages())
        next(answers)
        body_asked_for.set()
        assert b"AWS4-HMAC-SHA256" in next(answers), "a signed request was expected"
        if self._kind == "uncounted":
            assert next(answers, None) is None, "the stream was to end"
        else:
            answers.cancel()  # the stream stays until Envoy ends it

    def counting(self, *, on: bool) -> None:
        """Count from now on, or no longer."""
        callgrind.control(self._process.pid, "-i", "on" if on else "off")

    def stop(self) -> Counter[str]:
        """End it; return the instructions by library, which are written then."""
        self._channel.close()
        self._process.terminate()
        self._process.wait(callgrind.READY_WITHIN)
        return callgrind.by_library(self._counts.read_text(errors="replace"))


class _Console:
    """Calls the admin API as the console does while its pages are open."""

    def __init__(self, directory: Path, *, decisions: bool) -> None:
        self._client = AdminClient(connect(f"unix:{directory}/admin.sock"))
        self._decisions = decisions
        self._cursor = ""

    def look(self) -> None:
        """Fetch new decisions, the status and the metrics."""
        if self._decisions:
            page = self._client.call("ListDecisions", {"cursor": self._cursor, "limit": 1000})
            self._cursor = page["next_cursor"]
        for method in ("GetStatus", "GetMetrics"):
            self._client.call(method, {})


def count(users: int, requests: int, kind: str) -> dict[str, Any]:
    """Return the instructions of one warm request of ``users`` in turn, in all and by library.

    ``kind``: ``counted`` and ``uncounted`` targets; ``unwatched`` and ``watched``, a counted target without a
    console and with one, whose looks fall between the counted requests; ``looks``, which counts these alone.
    """
    with tempfile.TemporaryDirectory() as name:
        server = _Server(Path(name), users, kind)
        try:
            console = _Console(Path(name), decisions=kind == "looks")
            heads = [head_message(token) for token in server.tokens]
            for head in heads:
                server.request(head)
            if 1 < users < bytecodes.RATE:
                requests = max(
                    requests, bytecodes.RATE
                )  # a second: each user's first in it costs more than the others
            turn = itertools.cycle(heads)
            for _ in range(max(_WARM_UP, 2 * users)):
                server.request(next(turn))
            requests = _LOOKS if kind == "looks" else requests
            server.counting(on=True)
            for number in range(requests):
                if kind in ("unwatched", "watched") and number % _LOOK_EVERY == 0:
                    server.counting(on=False)
                    if kind == "watched":
                        console.look()
                    server.counting(on=True)
                if kind == "looks":
                    console.look()
                else:
                    server.request(next(turn))
            server.counting(on=False)
        finally:
            counts = server.stop()
    total = counts.total()
    return {
        "instructions": round(total / requests),
        "libraries": {library: round(cost / requests) for library, cost in counts.most_common(8)},
    }


def name_of(users: int, kind: str) -> str:
    """What a count is called."""
    return f"{users} users, {_NAMES[kind]}"


def main() -> None:
    """Count and print beside what is committed, or serve what is counted."""
    parser = argparse.ArgumentParser(prog="bench.instructions", description=__doc__)
    parser.add_argument("serve", nargs="*")
    parser.add_argument("--users", type=int, nargs="+", help="default: 1 and 1,000 in turn")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {_COMMITTED.name}")
    parser.add_argument("--compiled", action="store_true", help="what counts is the compiled build")
    parser.add_argument("--console", action="store_true", help="without a console, and with one")
    given = parser.parse_args()
    if given.serve:
        _, directory, users, kind = given.serve
        asyncio.run(_serve(Path(directory), int(users), kind))
        return
    if given.compiled == str(way.__file__).endswith(".py"):
        parser.error(f"{way.__file__} is loaded, which is not the build that was to be counted")
    committed = json.loads(_COMMITTED.read_text()) if _COMMITTED.exists() else {}
    kinds = ("unwatched", "watched", "looks") if given.console else KINDS
    for kind, users in itertools.product(kinds, given.users or ([1] if given.console else [1, 1000])):
        row = count(users, given.requests, kind)
        name = name_of(users, kind) + (", compiled" if given.compiled else "")
        before = committed.get(name, {}).get("instructions")
        compared = f" ({row['instructions'] / before:.3f} of {before:,})" if before else ""
        print(f"{name}: {row['instructions']:,} instructions a request{compared}")
        for library, cost in row["libraries"].items():
            print(f"{cost:>12,}  {library}")
        committed[name] = row
        if users == 1 and kind in bytecodes.KINDS and not given.compiled:
            print("of these, executed by our own functions, in Python's instructions:")
            print(bytecodes.show(asyncio.run(bytecodes.count(kind)), _FUNCTIONS))
    if given.write:
        _COMMITTED.write_text(json.dumps(committed, indent=1) + "\n")


if __name__ == "__main__":
    main()
