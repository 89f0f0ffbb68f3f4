"""Write the parts of the documentation that are made from code: ``make reference``. Tests compare them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from extproc.cli import main
from extproc.config.shared_store import SharedStore
from extproc.config.token_exchange import TokenExchangeSettings
from extproc.schema.json_schema import schema
from extproc.schema.tables import table

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
HERE = Path(__file__).parent


def files() -> Mapping[Path, str]:
    """Return the content of each file that is made, wholly or in part."""
    return {
        HERE / "commands.md": commands_page(),
        HERE / "configuration.md": _with_tables("configuration.md"),
        HERE / "shared-store.md": _with_tables("shared-store.md"),
        HERE / "extproc.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }


def _with_tables(name: str) -> str:
    """Return a file with its tables made anew."""
    text = (HERE / name).read_text(encoding="utf-8")
    tables = {
        "settings": table(without=frozenset({"token_exchange", "shared"})),
        "token_exchange": table(TokenExchangeSettings),
        "shared": table(SharedStore),
    }
    for section, made in tables.items():
        begin, end = f"<!-- {section}: made by `make reference` -->\n", f"<!-- end of {section} -->\n"
        text = re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _, m=made, b=begin, e=end: f"{b}{m}\n{e}",
            text,
            flags=re.DOTALL,
        )
    return text


def commands_page() -> str:
    """Return docs/commands.md: a section for each command, in the order of ``extproc --help``."""
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


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content, encoding="utf-8")
