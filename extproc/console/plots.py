"""Line plots as SVG paths. Text and scales are HTML beside them, so that both follow the page's font."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 120
"""Units of the view box; the page stretches it."""

_STEPS = (1, 2, 5, 10)
_LEAST = 1e-9  # a nanosecond; less is nothing


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot.

    Attributes:
        style: a class of the style sheet.
        path: the SVG path of the line.
        area: the SVG path of the area under it.
        dots: the SVG path of points without neighbours, which a line does not show.
        latest: the last value, formatted.
    """

    name: str
    style: str
    path: str
    area: str
    dots: str
    latest: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot with its scale.

    Attributes:
        top: the value at the upper edge, formatted.
        middle: the value halfway up.
        summary: the plot in a sentence, for those who do not see it.
        minutes: from the left edge to the right one; None without points.
    """

    title: str
    lines: tuple[Line, ...]
    top: str
    middle: str
    summary: str
    minutes: int | None


def plot(
    title: str,
    times: Sequence[float],
    lines: Sequence[tuple[str, str, Sequence[float | None]]],
    *,
    unit: str,
    span: float,
) -> Plot:
    """Return a plot.

    Args:
        title: what is plotted.
        times: seconds since the epoch, ascending.
        lines: name, style and values of each.
        unit: ``/s`` for rates, ``s`` for seconds.
        span: seconds from the left edge to the last point.
    """
    top = rounded_up(
        max((value for _, _, values in lines for value in values if value is not None), default=0)
    )
    end = times[-1] if times else 0.0
    drawn = []
    for name, style, values in lines:
        runs = _runs(times, values, end=end, span=span, top=top)
        path = " ".join(_path(run) for run in runs)
        dots = " ".join(_path(run) for run in runs if len(run) == 1)
        area = " ".join(
            f"{_path(run)} L{run[-1][0]:.1f},{HEIGHT} L{run[0][0]:.1f},{HEIGHT} Z" for run in runs
        )
        latest = next((value for value in reversed(values) if value is not None), None)
        drawn.append(Line(name, style, path, area, dots, formatted(latest, unit)))
    summary = ", ".join(f"{line.name} {line.latest}" for line in drawn)
    return Plot(
        title,
        tuple(drawn),
        formatted(top, unit),
        formatted(top / 2, unit),
        f"{title}: now {summary}",
        round(span / 60) if times else None,
    )


def rounded_up(value: float) -> float:
    """Return the next 1, 2, 5 or 10 times a power of ten: a scale that people can read."""
    if value < _LEAST:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _STEPS if step * power >= value * (1 - 1e-9))


def formatted(value: float | None, unit: str) -> str:
    """Return a value for people."""
    if value is None:
        return "none"
    if unit != "s":
        return f"{value:.3g}{unit}" if value < 1000 else f"{value:,.0f}{unit}"  # noqa: PLR2004 - four digits
    for scale, name in ((1.0, "s"), (1e-3, "ms")):
        if value >= scale:
            return f"{value / scale:.3g} {name}"
    return f"{value / 1e-6:.3g} µs"


def _runs(
    times: Sequence[float], values: Sequence[float | None], *, end: float, span: float, top: float
) -> list[list[tuple[float, float]]]:
    """Return the points of each stretch without a gap."""
    runs: list[list[tuple[float, float]]] = [[]]
    for time, value in zip(times, values, strict=True):
        if value is None:
            runs.append([])
        elif time >= end - span:
            x = WIDTH * (1 - (end - time) / span)
            runs[-1].append((x, HEIGHT * (1 - min(value / top, 1.0))))
    return [run for run in runs if run]


def _path(run: Sequence[tuple[float, float]]) -> str:
    # A lone point is drawn as a dot, by a line of no length with round ends.
    points = run if len(run) > 1 else [run[0], run[0]]
    return "M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in points)
