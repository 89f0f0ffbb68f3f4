"""``extproc test``: reads the files with cases, decides them and prints the results."""

import asyncio
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from extproc.cases.coverage import Coverage
from extproc.cases.document import Case, load
from extproc.cases.run import CaseResult
from extproc.cases.run import run as run_cases
from extproc.cases.second_engine import SecondEngine
from extproc.cases.suggest import Suggestion, as_yaml, suggestions
from extproc.clock import system_clock
from extproc.config import ConfigError, Settings
from extproc.explain.run import environment_of


def run(
    settings: Settings,
    files: Sequence[Path],
    *,
    coverage: bool,
    strict: bool,
    junit: Path | None,
    suggest: Path | None = None,
) -> int:
    """Decide the cases of all files and print the results; return the exit status.

    Args:
        settings: the configuration.
        files: the files with cases.
        coverage: whether to print what decided no case.
        strict: whether that is a failure.
        junit: the file to write the results to.
        suggest: the new file to write cases to, for what decided no case.
    """
    try:
        cases = {str(path): load(path) for path in files}
    except ConfigError as error:
        click.echo("\n".join(error.problems), err=True)
        return 2
    began = time.perf_counter()
    results, covered = asyncio.run(_decided(settings, cases))
    seconds = time.perf_counter() - began
    if junit is not None:
        try:
            junit.write_bytes(_junit(results))
        except OSError as error:
            click.echo(f"{junit}: {error.strerror}", err=True)
            return 2
    failed = 0
    for path, group in results.items():
        for result in group:
            if not result.passed:
                failed += 1
                click.echo("\n    ".join([f"FAIL {path}: {result.name}", *result.differences]))
    if coverage:
        click.echo("\n".join(covered.lines()))
    if suggest is not None:
        try:
            with suggest.open("x", encoding="utf-8") as file:
                found = asyncio.run(_suggested(settings, covered))
                file.write(as_yaml(found))
        except OSError as error:
            click.echo(f"{suggest}: {error.strerror}", err=True)
            return 2
        left = len(list(covered.lines())) - 1
        click.echo(
            f"{suggest}: {len(found)} cases suggested; {left} rules and halves are still never decisive"
        )
    passed = sum(map(len, results.values())) - failed
    click.echo(f"{passed} passed, {failed} failed in {seconds:.2f} s")
    return 1 if failed or (strict and not covered.complete) else 0


async def _decided(
    settings: Settings, cases: Mapping[str, list[Case]]
) -> tuple[dict[str, list[CaseResult]], Coverage]:
    environment = environment_of(settings, system_clock)
    coverage = Coverage(environment.policy)
    second = SecondEngine(environment.policy)
    results = {path: await run_cases(environment, group, coverage, second) for path, group in cases.items()}
    return results, coverage


async def _suggested(settings: Settings, covered: Coverage) -> list[Suggestion]:
    environment = replace(environment_of(settings, system_clock), policy=covered.policy)
    return await suggestions(environment, covered)


def _junit(results: Mapping[str, list[CaseResult]]) -> bytes:
    """Return the results in the format that CI systems read: one suite for each file."""
    root = ET.Element("testsuites")
    for path, group in results.items():
        failures = sum(not result.passed for result in group)
        seconds = sum(result.seconds for result in group)
        counts = {
            "tests": str(len(group)),
            "failures": str(failures),
            "errors": "0",
            "time": f"{seconds:.3f}",
        }
        suite = ET.SubElement(root, "testsuite", {"name": path, **counts})
        for result in group:
            members = {"classname": path, "name": result.name, "time": f"{result.seconds:.3f}"}
            case = ET.SubElement(suite, "testcase", members)
            if not result.passed:
                failure = ET.SubElement(case, "failure", {"message": result.differences[0]})
                failure.text = "\n".join(result.differences)
    report: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return report
