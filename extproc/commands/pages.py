"""docs/commands.md: the help of every command as one page."""

from collections.abc import Iterator

import click

from extproc.cli import main

_HEAD = """\
# Commands

Made by `make reference` from the commands' own help, `extproc COMMAND --help`.

Exit statuses are in the help of each command; 2 is always bad input. An option may be given as an
environment variable where that is said. [Shell completion](#shell-completion) is at the end.
"""
_COMPLETION = """\
## Shell completion

Completion knows commands, options and their values. Write the script once, and load it when a shell starts:

```sh
_EXTPROC_COMPLETE=bash_source extproc > ~/.extproc-complete.bash   # in ~/.bashrc: . ~/.extproc-complete.bash
_EXTPROC_COMPLETE=zsh_source extproc > ~/.extproc-complete.zsh     # in ~/.zshrc: . ~/.extproc-complete.zsh
_EXTPROC_COMPLETE=fish_source extproc > ~/.config/fish/completions/extproc.fish
```

Pressing Tab takes a tenth of a second: commands load what they need only when they run.
"""
_WIDTH = 80


def page() -> str:
    """Return the page: a section for each command, in the order of ``extproc --help``."""
    context = _context(main, "extproc")
    parts = [_HEAD, _block(main.get_help(context))]
    for names in main.sections.values():
        for name in names:
            command = main.get_command(context, name)
            assert command is not None  # noqa: S101 - a test compares the sections with the commands
            parts += _sections(command, f"extproc {name}")
    return "\n".join([*parts, _COMPLETION])


def _sections(command: click.Command, path: str) -> Iterator[str]:
    """Yield the sections of a command and of those in it."""
    context = _context(command, path)
    yield f"## {path}\n"
    yield _block(command.get_help(context))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _sections(inner, f"{path} {name}")


def _context(command: click.Command, path: str) -> click.Context:
    return click.Context(
        command,
        info_name=path,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        help_option_names=main.context_settings["help_option_names"],
    )


def _block(text: str) -> str:
    return f"```\n{text}\n```\n"
