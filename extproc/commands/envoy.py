"""``extproc envoy``: prints Envoy's configuration, or checks one for dangerous settings."""

import sys
from pathlib import Path

from extproc.config import Settings
from extproc.envoyconf.bootstrap import render, render_filter
from extproc.envoyconf.expectations import expectations_of
from extproc.envoyconf.lint import Expectations, findings
from extproc.envoyconf.lint_document import UnreadableError, load
from extproc.envoyconf.options import EnvoyOptions

CLEAN, FOUND, UNREADABLE = 0, 1, 2


def rendered(settings: Settings, options: EnvoyOptions, *, filter_only: bool) -> str:
    """Return the bootstrap, or only the filter."""
    return render_filter(settings, options) if filter_only else render(settings, options)


def check(path: Path, settings: Settings | None) -> int:
    """Print a line for each finding; return the exit status."""
    try:
        document = load(path)
    except UnreadableError as error:
        print(f"{path}: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return UNREADABLE
    found = findings(document, expectations_of(settings) if settings else Expectations())
    for finding in found:
        print(f"{finding.path}: {finding.message}")  # noqa: T201
    return FOUND if found else CLEAN
