"""``extproc init``: its arguments and questions; writes a configuration."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from extproc import config
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.provider import HttpDocuments
from extproc.commands.options import FILE
from extproc.idp.answers import QUESTIONS, AnswerError
from extproc.idp.configuration import configuration
from extproc.idp.metadata import read_metadata
from extproc.idp.recipe import Recipe, default_answer, recipes

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _answers(command: _Command) -> _Command:
    """Add an option for each question."""
    for question in reversed(list(QUESTIONS.values())):
        command = click.option(question.option, question.name, help=f"Answer: {question.text}.")(command)
    return command


@click.command()
@click.option("--list", "show", is_flag=True, help="List the providers and their ways to STS.")
@click.option("--idp", help="The identity provider, one of --list.")
@click.option("--way", "way_name", help="The way of tokens to STS [default: the provider's first].")
@_answers
@click.option("--target-url", help="Where Envoy connects, if not to the target's host.")
@click.option("--sts-url", help="Another STS endpoint.")
@click.option("--offline", is_flag=True, help="Do not read the provider's metadata.")
@click.option("--output", type=FILE, help="Write to this file [default: standard output].")
@click.option("--force", is_flag=True, help="Replace the file of --output if it exists.")
def init(
    *,
    show: bool,
    idp: str | None,
    way_name: str | None,
    target_url: str | None,
    sts_url: str | None,
    offline: bool,
    output: Path | None,
    force: bool,
    **options: str | None,
) -> None:
    """Write a commented configuration for an identity provider.

    Answers that no option gives are asked for on a terminal. Exit 0, or 2 for missing or unusable
    answers, and for a file that exists.
    """
    if show:
        click.echo(_list())
        return
    if output is not None and output.exists() and not force:
        raise click.UsageError(f"--output: {output} exists; --force replaces it")
    answers = {name: answer for name, answer in options.items() if answer is not None}
    try:
        recipe = _recipe(idp)
        way = recipe.way(way_name or _asked_way(recipe))
        if _is_terminal():
            answers = _asked(recipe.questions(way), answers)
        values = recipe.values(way, answers)
        jwks_uri = None
        if not offline:
            values["issuer"], jwks_uri = asyncio.run(_discovered(str(values["issuer"])))
        text = configuration(recipe, way, values, jwks_uri=jwks_uri, target_url=target_url, sts_url=sts_url)
        config.parse(text)
    except AnswerError as error:
        raise click.UsageError(str(error)) from None
    except config.ConfigError as error:
        raise click.UsageError("\n".join(error.problems)) from None
    _write(text, output, force=force)
    if "secret_file" in values:
        click.echo(f"put the client secret of the gateway into {values['secret_file']}", err=True)
    for step in way.provider:
        click.echo(f"at the provider: {step}", err=True)
    click.echo(_NEXT.format(path=output or "extproc.yaml"), err=True)


_NEXT = """next:
  extproc check --config {path}                 # rules and settings
  extproc aws --config {path} --format cli      # what AWS must know of it
  extproc doctor --config {path} --token FILE   # everything on the way, with a token of yours
  extproc envoy --config {path} > envoy.yaml    # Envoy's side; `extproc run` starts both"""


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _recipe(idp: str | None) -> Recipe:
    names = ", ".join(recipes())
    if idp is None and _is_terminal():
        idp = str(click.prompt("identity provider", type=click.Choice(list(recipes())), err=True))
    if idp is None:
        raise AnswerError(f"--idp is required: one of {names}")
    if idp not in recipes():
        raise AnswerError(f"--idp: {idp!a} has no recipe; there are {names}")
    return recipes()[idp]


def _asked_way(recipe: Recipe) -> str | None:
    """Return the way that is chosen on a terminal; None for the default."""
    usable = [way for way in recipe.ways if way.refused is None]
    if len(usable) == 1 or not _is_terminal():
        return None
    for way in usable:
        click.echo(f"  {way.name}: {way.title}", err=True)
    names = click.Choice([way.name for way in usable])
    return str(click.prompt("way to STS", type=names, default=usable[0].name, err=True))


def _list() -> str:
    lines = []
    for recipe in recipes().values():
        lines.append(f"{recipe.name:<12}{recipe.title}")
        lines += [f"{'':<12}--way {way.name}: {way.title}" for way in recipe.ways if way.refused is None]
    return "\n".join(lines)


def _asked(questions: Mapping[str, str | None], answers: Mapping[str, str]) -> dict[str, str]:
    """Return the answers, after asking for those that are missing."""
    found = dict(answers)
    for name, template in questions.items():
        question = QUESTIONS[name]
        default = default_answer(
            template, {key: QUESTIONS[key].read(value) for key, value in found.items() if value}
        )
        while name not in found:
            answer = str(click.prompt(question.text, default=default, show_default=bool(default), err=True))
            try:
                if answer or default != "":
                    question.read(answer)
            except AnswerError as error:
                click.echo(str(error), err=True)
                continue
            found[name] = answer
    return found


async def _discovered(issuer: str) -> tuple[str, str | None]:
    """Return the issuer as its metadata spells it, and the URL of its keys, if they can be read."""
    try:
        metadata = await read_metadata(issuer, HttpDocuments())
    except KeyDocumentError as error:
        click.echo(f"note: the issuer is not compared with the provider's metadata: {error}", err=True)
        return issuer, None
    if metadata.issuer != issuer:
        click.echo(f"note: the provider spells its issuer {metadata.issuer}, and so does this file", err=True)
    return metadata.issuer, metadata.jwks_uri


def _write(text: str, output: Path | None, *, force: bool) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        # "x": a file that appeared in the meantime is not replaced either.
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise click.UsageError(f"--output: {output}: {error.strerror}") from None
