"""What commands that read a configuration have in common.

The command line is defined without loading what reads the configuration, so that ``--help`` and shell
completion are quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from extproc import config
    from extproc.config import toolhive

FILE = click.Path(path_type=Path)

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Loaded = TypeVar("_Loaded")
_SUPPLEMENT = "extproc.supplement"


def config_options(command: _Command) -> _Command:
    """Add ``--config``, and options for what a ToolHive resource may lack, which ``load`` reads."""

    def keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        context.meta.setdefault(_SUPPLEMENT, {})[parameter.name] = value

    for name, text in (
        ("name", "its name, if there are several"),
        ("target", "the host to sign for"),
        ("audience", "the audience of tokens, and the endpoint's URL"),
        ("issuer", "the issuer of tokens"),
    ):
        option = click.option(
            f"--{name}", expose_value=False, callback=keep, help=f"With a ToolHive resource: {text}."
        )
        command = option(command)
    return click.option(
        "--config", "config_path", required=True, type=FILE, help="The configuration file (YAML)."
    )(command)


def log_level_option(
    text: str, *, name: str = "--log-level", default: str = "info"
) -> Callable[[_Command], _Command]:
    """Return what adds the option for the lowest level to log."""
    levels = click.Choice(["debug", "info", "warning", "error"])
    return click.option(name, default=default, type=levels, show_default=True, help=text)


def workers_option(text: str) -> Callable[[_Command], _Command]:
    """Return what adds the option for the number of server processes."""
    return click.option("--workers", default=1, type=click.IntRange(1, 64), show_default=True, help=text)


def supplement() -> toolhive.Supplement:
    """Return what this command's options add to a ToolHive resource."""
    from extproc.config import toolhive

    return toolhive.Supplement(**click.get_current_context().meta.get(_SUPPLEMENT, {}))


def supplement_arguments() -> list[str]:
    """Return the options of this command that ``config_options`` adds, for another command."""
    given = click.get_current_context().meta.get(_SUPPLEMENT, {})
    return [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]


def loader(path: Path) -> Callable[[], config.Settings]:
    """Return a function that reads the configuration with this command's options."""
    from extproc.config import toolhive

    given = supplement()
    return lambda: toolhive.load(path, given)


def load(path: Path) -> config.Settings:
    """Read the configuration with this command's options, or exit with 2."""
    return or_exit(loader(path))


def or_exit(work: Callable[[], _Loaded]) -> _Loaded:
    """Do the work, or exit with 2 and the configuration's problems."""
    from extproc import config

    try:
        return work()
    except config.ConfigError as error:
        from extproc.schema.missing import with_example

        click.echo("\n".join(map(with_example, error.problems)), err=True)
        sys.exit(2)
