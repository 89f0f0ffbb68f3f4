"""The group of all commands: in sections, and some of them loaded only when they run."""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Later(NamedTuple):
    """A command in a module that loads much.

    Attributes:
        module: the module; its attribute of the command's name is the command.
        short_help: its line in the list of commands, for which the module is not loaded.
    """

    module: str
    short_help: str


class CommandGroup(click.Group):
    """A group whose list of commands has sections.

    Args:
        sections: the names of commands by the title of their section, in order.
        later: the commands that are loaded when they run.
    """

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, tuple[str, ...]],
        later: Mapping[str, Later],
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.sections = sections
        self.later = later

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *self.later})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loaded if need be; None if there is none of this name."""
        if cmd_name in self.later and cmd_name not in self.commands:
            module = importlib.import_module(self.later[cmd_name].module)
            self.add_command(getattr(module, cmd_name), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections; a command of none comes last."""
        named = {name for names in self.sections.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in named)
        for title, names in {**self.sections, "Other commands": others}.items():
            width = formatter.width - 6 - max(map(len, names), default=0)
            rows = [(name, self._short_help(ctx, name, width)) for name in names]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _short_help(self, ctx: click.Context, name: str, width: int) -> str:
        if name in self.later and name not in self.commands:
            return self.later[name].short_help
        command = super().get_command(ctx, name)
        return command.get_short_help_str(max(width, 200)) if command else ""
