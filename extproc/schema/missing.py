"""What to write for a required setting that a configuration lacks."""

import re

import yaml

from extproc.config import Settings
from extproc.schema.texts import texts
from extproc.validation import section_at

_MISSING = re.compile(r"([\w.\[\]]+): Field required")


def with_example(problem: str) -> str:
    """Return a ``path: message`` line with an example of the setting, if a required one is missing."""
    found = _MISSING.match(problem)
    if found is None:
        return problem
    *place, key = re.sub(r"\[[0-9]+\]", "", found[1]).split(".")
    section = section_at(Settings, place)
    text = texts().get(section.__name__, {}).get(key) if section else None
    if text is None:
        return problem
    example = yaml.safe_dump({key: text.example}, default_flow_style=True, width=float("inf")).strip()[1:-1]
    return f"{found[0]}; write it, as {example}{problem[found.end() :]}"
