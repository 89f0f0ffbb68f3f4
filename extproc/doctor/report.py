"""A report of the findings: an object for ``--json``, and a table for people."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from extproc.doctor.finding import Finding, Result, worst
from extproc.explain.text import WIDTH, printable

_STYLES = {Result.PASS: "green", Result.SKIPPED: "dim", Result.WARN: "yellow", Result.FAIL: "bold red"}
_COLUMN = 9  # columns, of a result


def facts(found: dict[str, list[Finding]]) -> dict[str, Any]:
    """Return the object: the worst result, and all findings in order."""
    return {
        "result": worst(list(chain.from_iterable(found.values()))).value,
        "checks": [
            {
                "check": name,
                "result": finding.result.value,
                "subject": finding.subject,
                "detail": finding.detail,
                "next_step": finding.next_step or None,
            }
            for name, finding in _each(found)
        ],
    }


def show(found: dict[str, list[Finding]], console: Console) -> None:
    """Print all findings, the next step below each, and a count at the end."""
    console = console if console.is_terminal else Console(file=console.file, width=WIDTH)
    for name, finding in _each(found):
        head = Text(f"{_label(finding.result):<{_COLUMN}}", _STYLES[finding.result])
        head.append(f"{name}: {printable(finding.subject)}", "default")
        console.print(head, soft_wrap=True)
        console.print(_below(finding.detail, ""))
        if finding.next_step:
            console.print(_below(f"next: {finding.next_step}", "cyan"))
    counts = [finding.result for _, finding in _each(found)]
    parts = [f"{counts.count(result)} {result.value}" for result in Result if result in counts]
    console.print(Text(", ".join(parts)))


def _label(result: Result) -> str:
    return result.value.upper() if result in (Result.WARN, Result.FAIL) else result.value


def _below(text: str, style: str) -> Padding:
    return Padding(Text(printable(text), style), (0, 0, 0, _COLUMN))


def _each(found: dict[str, list[Finding]]) -> Iterator[tuple[str, Finding]]:
    for name, findings in found.items():
        yield from ((name, finding) for finding in findings)
