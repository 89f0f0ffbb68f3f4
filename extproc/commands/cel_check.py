"""A second check of expressions: the type checker of Google's engine, with the extra ``cel``."""

from collections.abc import Iterator

from extproc.cases.second_engine import second_environment
from extproc.config import Settings
from extproc.config.expressions import expressions


def warnings(settings: Settings) -> Iterator[str]:
    """Yield a line for each expression that it rejects; nothing if it is not installed."""
    environment = second_environment()
    if environment is None:
        return
    for path, expression in expressions(settings):
        try:
            environment.compile(expression.source)
        except Exception as error:  # noqa: BLE001 - an error here must not end the check
            yield f"{path}: cel-expr-python: {str(error).splitlines()[0]}"
