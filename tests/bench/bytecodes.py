"""Python's instructions of a warm request by function: what callgrind cannot see, since all are the interpreter's.

``python -m bench.bytecodes`` counts those of our own functions, gRPC left out, exactly: the same in each run. One is
some 25 instructions of the processor, one call some 200 beside.
"""

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from bench.messages import head_message
from bench.rig import COUNTED, UNCOUNTED, Rig

KINDS = {"uncounted": UNCOUNTED, "counted": COUNTED}
RATE = 4000
"""Requests a second of the clock by which requests are signed, as in ``bench.instructions``."""
_WARM_UP = 150
_REQUESTS = 640  # ten times what metrics are settled for at a time


class _Tracer:
    """Counts calls and executed bytecodes by function."""

    def __init__(self) -> None:
        self.bytecodes: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._names: dict[Any, str] = {}

    def __call__(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        name = self._names.get(code)
        if name is None:
            name = self._names[code] = f"{_module(frame)}.{code.co_qualname}"
        self.calls[name] += 1
        frame.f_trace_lines, frame.f_trace_opcodes = False, True

        def count(_frame: FrameType, event: str, _argument: Any) -> Any:
            self.bytecodes[name] += event == "opcode"
            return count

        return count


def _module(frame: FrameType) -> str:
    name = str(frame.f_globals.get("__name__", ""))
    return name.removeprefix("extproc.")


async def count(kind: str) -> dict[str, tuple[float, float]]:
    """Return bytecodes and calls of one warm request by function, for a target of one of ``KINDS``."""
    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(Path(directory), observe_upstream="never", targets=[KINDS[kind]])
        began, signed = time.time(), itertools.count()
        rig.app._state.signer._clock = lambda: began + next(signed) / RATE
        token = rig.token("ES256")
        await rig.open(token)
        head = head_message(token)
        for _ in range(_WARM_UP):
            rig.request(head)
        for requests in (1, _REQUESTS):  # Python 3.12 counts from the second time on
            tracer = _Tracer()
            sys.settrace(tracer)
            try:
                for _ in range(requests):
                    rig.request(head)
            finally:
                sys.settrace(None)
    return {
        name: (number / _REQUESTS, tracer.calls[name] / _REQUESTS)
        for name, number in tracer.bytecodes.most_common()
        if not name.startswith("bench.")
    }


def show(found: dict[str, tuple[float, float]], most: int) -> str:
    """Render a table of those with the most."""
    total = sum(number for number, _ in found.values()), sum(calls for _, calls in found.values())
    rows = [("all of ours", total), *itertools.islice(found.items(), most)]
    return "\n".join(f"{number:>12,.0f}  {calls:5.1f} calls  {name}" for name, (number, calls) in rows)


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(prog="bench.bytecodes", description=__doc__)
    parser.add_argument("--kind", choices=KINDS, default="uncounted")
    parser.add_argument("--most", type=int, default=40, help="functions to show")
    given = parser.parse_args()
    print(show(asyncio.run(count(given.kind)), given.most))


if __name__ == "__main__":
    main()
