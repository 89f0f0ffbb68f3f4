"""Templates, with every value escaped, and how values are shown."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from extproc.spelling import counted

_SHORT_DIGEST = 12


class Templates:
    """Renders the templates of this package."""

    def __init__(self, *, version: str) -> None:
        self._version = version

    def render(self, template: str, **values: Any) -> str:
        """Return a template with its values."""
        return _environment().get_template(template).render(version=self._version, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("extproc.console"),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "when": when,
        "role": short_role,
        "shown": shown,
        "duration": duration,
        "digest": lambda text: text[:_SHORT_DIGEST],
        "micros": micros,
        "counted": lambda number, singular: counted(int(number), singular),
    }
    return environment


def when(value: str | float | None) -> str:
    """Return a time as an element that assets/live.js shows in the viewer's zone; UTC without scripts."""
    if value in (None, ""):
        return Markup('<span class="none">never</span>')
    moment = datetime.fromtimestamp(value, UTC) if isinstance(value, float | int) else _parsed(str(value))
    if moment is None:
        return Markup('<span class="none">unknown</span>')
    iso = moment.isoformat(timespec="milliseconds")
    return Markup('<time datetime="{}">{} UTC</time>').format(iso, moment.strftime("%Y-%m-%d %H:%M:%S"))


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def shown(value: object) -> str:
    """Return a string without control and direction characters, which could make it look like another."""
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def short_role(arn: str | None) -> str:
    """Return the name in a role's ARN, or what else it is."""
    text = shown(arn)
    for mark in (":role/", ":assumed-role/"):
        if mark in text:
            return text.partition(mark)[2]
    return text


def duration(value: str) -> str:
    """Return protobuf's ``12.5s`` for people."""
    try:
        seconds = float(value.removesuffix("s"))
    except ValueError:
        return value
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def micros(value: float | None) -> str:
    """Return microseconds for people."""
    if value is None:
        return ""
    return f"{value / 1000:.3g} ms" if value >= 1000 else f"{value:.0f} µs"  # noqa: PLR2004 - a millisecond
