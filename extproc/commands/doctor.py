"""``extproc doctor``: reads the token, makes the checks, and prints their findings."""

import asyncio
import json
from pathlib import Path

import click
from rich.console import Console

from extproc.app.sts_client import build_sts
from extproc.clock import Clock, system_clock
from extproc.commands.explain import read_token
from extproc.config import Settings
from extproc.doctor.checks import CHECKS, examine
from extproc.doctor.examination import Examination, endpoints_of
from extproc.doctor.finding import Finding, Result
from extproc.doctor.report import facts, show
from extproc.explain.errors import BadInputError
from extproc.sts.aws_clock import AwsClock

HEALTHY, FOUND, BAD_INPUT = 0, 1, 2


def run(settings: Settings, *, token: Path | None, envoy: str | None, as_json: bool) -> int:
    """Make all checks and print the findings; return the exit status."""
    try:
        unverified_token = read_token(token) if token is not None else None
    except BadInputError as error:
        click.echo(f"extproc: {error}", err=True)
        return BAD_INPUT
    examination = examination_of(settings, system_clock, unverified_token=unverified_token, envoy=envoy)
    try:
        found = _examined(examination)
    finally:
        examination.sts.close()
    document = facts(found)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        show(found, Console())
    return FOUND if document["result"] == Result.FAIL else HEALTHY


def examination_of(
    settings: Settings, clock: Clock, *, unverified_token: str | None, envoy: str | None
) -> Examination:
    """Return the examination of a configuration, before its first check."""
    aws_clock = AwsClock(system=clock)
    dates: dict[str, tuple[str | None, float]] = {}

    def observe(date: str | None) -> None:
        aws_clock.observe(date)
        dates.setdefault("sts", (date, clock()))

    sts = build_sts(settings, clock=aws_clock, on_date=observe)
    return Examination(
        settings=settings,
        clock=clock,
        aws_clock=aws_clock,
        sts=sts,
        endpoints=endpoints_of(settings, sts),
        unverified_token=unverified_token,
        envoy=_admin_url(envoy) if envoy else "",
        dates=dates,
    )


def _examined(examination: Examination) -> dict[str, list[Finding]]:
    """Make the checks; on a terminal, show those that are under way."""
    waiting = [check.name for check in CHECKS]
    with Console(stderr=True).status(f"Checking {', '.join(waiting)} ...") as status:

        def done(name: str) -> None:
            waiting.remove(name)
            status.update(f"Checking {', '.join(waiting)} ...")

        return asyncio.run(examine(examination, done))


def _admin_url(envoy: str) -> str:
    return (envoy if "://" in envoy else f"http://{envoy}").rstrip("/")
