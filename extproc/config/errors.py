"""An invalid configuration."""

from typing import NamedTuple


class Position(NamedTuple):
    """A place in a file; line and column count from 1."""

    line: int
    column: int


class ConfigError(Exception):
    """An invalid configuration.

    Attributes:
        problems: ``path: message`` lines.
        position: where the problem is, if reading the file has found it.
        located: whether the problems end with their place in the file.
    """

    def __init__(
        self, problems: list[str], *, position: Position | None = None, located: bool = False
    ) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.position = position
        self.located = located
