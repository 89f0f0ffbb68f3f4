"""Mutants of one room: ``make mutants ROOM=signing``.

Runs the room's unit tests against each mutant that mutmut makes of it, in a copy, and fails if one
survives that the room's file beside this one does not argue for.

``ROOM`` is a folder of ``extproc``, or one file of it: ``signing/path.py``. Texts for people count as
equal: a mutant that changes nothing but a string with a space in it is left out.
"""

import argparse
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("extproc", "tests", "envoy", "docs", "protos", "README.md", "LICENSE")

_DETAIL = re.compile(r""", (?:None|f?"(?:[^"\\]|\\.)*")?\)$""")
_STRING = re.compile(r"""f?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")


def _without_detail(line: str) -> str:
    """Leave out what a denial tells operators."""
    return _DETAIL.sub(")", line)


@dataclasses.dataclass(frozen=True, order=True)
class Mutant:
    """One change of one line or several; ``file`` is below ``extproc``."""

    file: str
    before: str
    after: str

    def __str__(self) -> str:
        lines = (
            f"{sign} {line}"
            for sign, text in (("-", self.before), ("+", self.after))
            for line in text.splitlines()
        )
        return "\n".join((self.file, *lines))

    @property
    def is_of_a_text(self) -> bool:
        """Whether nothing differs but texts for people."""
        if "Denied(Reason." in self.before and _without_detail(self.before) == _without_detail(self.after):
            return True
        before, after = _STRING.split(self.before), _STRING.split(self.after)
        if len(before) != len(after):
            return False
        return all(
            old == new
            or (" " in old and old[1:-1].lower() == new[1:-1].lower().removeprefix("xx").removesuffix("xx"))
            for old, new in zip(before, after, strict=True)
        )


def argued(path: Path) -> set[Mutant]:
    """Read the mutants that a file argues for: blocks as they are printed, between paragraphs of reasons."""
    mutants, file, before, after = set(), "", [], []
    for line in [*(path.read_text().splitlines() if path.exists() else ()), ""]:
        if line.startswith("- "):
            before.append(line[2:])
        elif line.startswith("+ "):
            after.append(line[2:])
        elif before or after:
            mutants.add(Mutant(file, "\n".join(before), "\n".join(after)))
            before, after = [], []
        if line.endswith(".py") and " " not in line:
            file = line
    return mutants


def prepare(copy: Path, room: str) -> None:
    """Copy what the tests need, and write what mutmut is to do with it."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    folder = room.partition("/")[0]
    configuration = {
        "source_paths": ["extproc"],
        "only_mutate": [f"extproc/{room}" if room.endswith(".py") else f"extproc/{room}/*"],
        "also_copy": list(COPIED),
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": [f"tests/unit/{folder}"],
    }
    lines = "".join(f"{name} = {value!r}\n" for name, value in configuration.items())
    (copy / "pyproject.toml").write_text(f"{(ROOT / 'pyproject.toml').read_text()}\n[tool.mutmut]\n{lines}")


def mutmut(copy: Path, *arguments: str, minutes: float | None = None) -> str:
    """Run mutmut in the copy; return what it printed."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(
        command, cwd=copy, stdout=subprocess.PIPE, text=True, check=False, timeout=minutes and 60 * minutes
    )
    if done.returncode:
        sys.exit(f"{done.stdout[-3000:]}\nmutmut {arguments[0]} failed")
    return done.stdout


def survivors(copy: Path) -> list[Mutant]:
    """Return the mutants for which no test failed."""
    states = (line.strip().split(": ") for line in mutmut(copy, "results").splitlines())
    names = [name for name, state in states if state in ("survived", "no tests")]
    shown = subprocess.run(
        [sys.executable, "-c", _SHOW],
        cwd=copy,
        input=json.dumps(names),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return sorted({_mutant(diff.splitlines()) for diff in json.loads(shown.stdout)})


_SHOW = """
import json, sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
print(json.dumps([get_diff_for_mutant(name) for name in json.load(sys.stdin)]))
"""


def _mutant(diff: list[str]) -> Mutant:
    (first, _, _), lines = diff[:3], diff[3:]
    before, after = ("\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return Mutant(first.removeprefix("--- extproc/"), before, after)


def main() -> None:
    """Run the mutants of one room."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("room")
    parser.add_argument("--processes", default="2")
    parser.add_argument("--minutes", type=float, default=60, help="what takes longer is ended, and fails")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        prepare(copy, options.room)
        try:
            last = mutmut(copy, "run", "--max-children", options.processes, minutes=options.minutes)
        except subprocess.TimeoutExpired:
            sys.exit(f"not done after {options.minutes:g} minutes: one file of the room takes less")
        living = [mutant for mutant in survivors(copy) if not mutant.is_of_a_text]
    tried = re.findall(r"(\d+)/\d+", last)[-1]
    known = argued(Path(__file__).parent / f"{options.room.partition('/')[0]}.md")
    new = [mutant for mutant in living if mutant not in known]
    for mutant in new:
        print(f"\n{mutant}")
    for mutant in sorted(known - set(living)):
        if mutant.file.startswith(options.room.removesuffix("/")):
            print(f"\nargued for, and dead or gone:\n{mutant}")
    print(
        f"\n{tried} mutants; {len(living)} survived (texts left out), {len(new)} of them not argued for in tests/mutants"
    )
    sys.exit(1 if new else 0)


if __name__ == "__main__":
    main()
