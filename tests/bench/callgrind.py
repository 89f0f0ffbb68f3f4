"""Processes under callgrind: their instructions are the same on a busy machine as on an idle one.

https://valgrind.org/docs/manual/cl-manual.html, https://valgrind.org/docs/manual/cl-format.html
"""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

READY_WITHIN = 180.0  # seconds; valgrind makes everything some 50 times slower
_WRITTEN_WITHIN = 60.0
_LIBRARY = re.compile(r"^(c?)ob=\((\d+)\)\s*(.*)$")


def command(counts: Path, program: Sequence[str]) -> list[str]:
    """Run ``program`` without counting at first. The counts are written to ``counts`` when it ends."""
    return [
        "valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", "--dump-line=no",
        f"--callgrind-out-file={counts}", *program,
    ]  # fmt: skip


def control(pid: int, *wish: str) -> None:
    """Ask a process: ``-i on`` or ``-i off`` to count or not, ``-z`` to begin anew."""
    subprocess.run(["callgrind_control", *wish, str(pid)], check=True, stdout=subprocess.DEVNULL)


def dump(pid: int, written: Path) -> Counter[str]:
    """Let a process that is counting write its counts now, to ``written``: COUNTS.1, then COUNTS.2 and so on.

    Raises:
        TimeoutError: it did not.
    """
    control(pid, "-d")
    until = time.monotonic() + _WRITTEN_WITHIN
    while not (written.exists() and "\ntotals:" in (text := written.read_text(errors="replace"))):
        if time.monotonic() > until:
            raise TimeoutError(f"{written} was not written")
        time.sleep(0.1)
    return by_library(text)


def by_library(text: str) -> Counter[str]:
    """Sum the self costs of a profile by the library they were spent in."""
    names: dict[str, str] = {}
    found: Counter[str] = Counter()
    library, is_call = "", False
    for line in text.splitlines():
        if named := _LIBRARY.match(line):
            callee, number, name = named.groups()
            name = names.setdefault(number, name)  # given in full the first time only
            library = library if callee else name
        elif line.startswith("calls="):
            is_call = True  # the next line is what the callee cost, which is counted there
        elif line[:1].isdigit() or line[:1] in "+-*":
            cost = line.split()
            if not is_call and len(cost) > 1:
                found[Path(library).name] += int(cost[1])
            is_call = False
    return found
