"""A second opinion on expressions: the type checker of Google's engine, with the extra ``cel``."""

from collections.abc import Iterator

from extproc.config import Settings
from extproc.config.expressions import expressions


def warnings(settings: Settings) -> Iterator[str]:
    """Yield what it says of each expression; nothing where it is not installed."""
    try:
        from cel_expr_python import cel
    except ImportError:
        return
    text, any_type = cel.Type.STRING, cel.Type.DYN
    variables = {
        **dict.fromkeys(("claims", "request", "mcp"), cel.Type.Map(text, any_type)),
        "agents": cel.Type.List(text),
    }
    environment = cel.NewEnv(variables=variables)
    for path, expression in expressions(settings):
        try:
            environment.compile(expression.source)
        except Exception as error:  # noqa: BLE001 - a second opinion must not end the check
            yield f"{path}: cel-expr-python: {str(error).splitlines()[0]}"
