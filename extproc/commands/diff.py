"""``extproc diff``: compares two configurations, and decides given claims under both."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from extproc import config
from extproc.app.factories import build_policy
from extproc.clock import system_clock
from extproc.commands.admin import calling, connection_options
from extproc.commands.options import FILE, or_exit
from extproc.config import Settings
from extproc.errors import Denied
from extproc.explain.errors import BadInputError
from extproc.explain.run import Environment, environment_of, explain_claims
from extproc.policy_diff.outcome import Comparison, Kind, Outcome, compare, outcome_of
from extproc.policy_diff.report import Decided, Report, compared, facts, lines
from extproc.telemetry import logs
from extproc.values import Grant


@click.command()
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option(
    "--claims",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder with claims (*.json) to decide under both.",
)
@click.option(
    "--sessions",
    is_flag=True,
    help="Have the running server decide its sessions under NEW [default address: OLD's listen.admin_grpc].",
)
@connection_options
@click.option(
    "--fail-on",
    type=click.Choice(["widened", "any", "never"]),
    default="widened",
    show_default=True,
    help="The differences for which to exit with 1.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(
    old: Path,
    new: Path,
    claims: Path | None,
    *,
    sessions: bool,
    fail_on: str,
    as_json: bool,
    **connection: Any,
) -> None:
    """Show who would get another role or denial under another configuration.

    OLD, NEW: configuration files. Exit 0; 1 if anybody gets more than before, or may get more;
    2 for bad input; 3 if the server does not answer.
    """
    if not sessions and any(connection.values()):
        raise click.UsageError("--address, --ca, --cert, --key and --server-name need --sessions")
    before, after = or_exit(lambda: config.load(old)), or_exit(lambda: config.load(new))
    logs.configure("error")
    report = compared(before, after, (build_policy(before), build_policy(after)))
    try:
        if claims is not None:
            files = _read(claims)
            decided = asyncio.run(_decided(before, after, files))
            report = replace(report, claims=decided, examined={"claims": len(files)})
        if sessions:
            report = _with_sessions(report, old, new, connection)
    except BadInputError as error:
        click.echo(f"extproc: {error}", err=True)
        sys.exit(2)
    click.echo(json.dumps(facts(report), indent=2) if as_json else "\n".join(lines(report)))
    failed = {"any": report.differs, "widened": report.gives_more, "never": False}[fail_on]
    sys.exit(1 if failed else 0)


def _with_sessions(report: Report, old: Path, new: Path, connection: Mapping[str, Any]) -> Report:
    """Add what the running server finds for its sessions."""
    with calling(config_path=old, **connection) as call:
        answer = call("CompareSessions", configuration=config.read_text(new))
    found = [
        Decided(
            "all" if int(each["count"]) == answer["sessions"] else f"{each['count']} of {answer['sessions']}",
            _outcome_of(each["before"]),
            _outcome_of(each["after"]),
            Comparison(Kind(each["kind"]), each["gives_more"], tuple(each["what"])),
            int(each["count"]),
        )
        for each in answer["differences"]
    ]
    if answer["sessions"] < answer["open_sessions"]:
        click.echo(
            f"extproc: time for {answer['sessions']} of {answer['open_sessions']} sessions only", err=True
        )
    if answer["reads_request"]:
        click.echo("extproc: rules that read the request saw none of it in sessions", err=True)
    return replace(
        report, sessions=tuple(found), examined={**report.examined, "sessions": answer["sessions"]}
    )


def _outcome_of(answer: Mapping[str, str]) -> Outcome:
    return Outcome(
        denied=answer["denied"] or None, role=answer["role"] or None, mapping=answer["mapping"] or None
    )


def _read(folder: Path) -> dict[str, bytes]:
    """Return the files with claims by name; raises ``BadInputError``."""
    try:
        files = {path.name: path.read_bytes() for path in sorted(folder.glob("*.json"))}
    except OSError as error:
        raise BadInputError(f"{error.filename}: {error.strerror}") from None
    if not files:
        raise BadInputError(f"{folder}: no file *.json")
    return files


async def _decided(before: Settings, after: Settings, files: Mapping[str, bytes]) -> tuple[Decided, ...]:
    environments = [
        replace(environment_of(settings, system_clock), with_reasons=False) for settings in (before, after)
    ]
    found = []
    for name, claims in files.items():
        one, other = [await _outcome(environment, name, claims) for environment in environments]
        comparison = compare(one, other)
        if comparison is not None:
            found.append(Decided(name, one, other, comparison))
    return tuple(found)


async def _outcome(environment: Environment, name: str, claims: bytes) -> Outcome:
    try:
        explanation = await explain_claims(environment, claims, None)
    except BadInputError as error:
        raise BadInputError(f"{name}: {error}") from None
    outcome, decision = explanation.outcome, explanation.decision
    assert isinstance(outcome, Grant | Denied)  # noqa: S101 - without a request there is no other answer
    return outcome_of(outcome, mapping=decision.rule.name if decision and decision.rule else None)
