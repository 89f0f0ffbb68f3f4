"""The figures of the report, as SVG."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

from bench.stats import Spread, spread

Result = dict[str, Any]
_COLOURS = ("#4477aa", "#ee6677", "#ccbb44", "#228833")
# The same figures, the same bytes.
mpl.rcParams["svg.hashsalt"] = "extproc"
_METADATA = {"Date": None, "Creator": None}


def draw(results: Result, directory: Path) -> list[str]:
    """Draw what was measured; returns the files' names."""
    drawn = []
    for key, name, plot in (
        ("throughput", "throughput.svg", _throughput),
        ("throughput", "latency.svg", _latency),
        ("throughput", "processor-time.svg", _cpu),
        ("cold", "first-request.svg", _cold),
        ("growth", "growth.svg", _growth),
    ):
        if key in results:
            drawing = plot(results)
            drawing.savefig(directory / name, format="svg", metadata=_METADATA, bbox_inches="tight")
            plt.close(drawing)
            drawn.append(name)
    return drawn


def _bars(names: list[str], title: str) -> tuple[Any, Any]:
    drawing, axes = plt.subplots(figsize=(8, 0.45 * len(names) + 1.2))
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    return drawing, axes


def _errors(seen: list[Spread]) -> list[list[float]]:
    return [[one.median - one.low for one in seen], [one.high - one.median for one in seen]]


def _throughput(results: Result) -> Any:
    cases = results["throughput"]["cases"]
    seen = [spread(row["rate"] for row in case["loaded"]) for case in cases.values()]
    drawing, axes = _bars(list(cases), "requests a second, 32 connections (median, lowest and highest round)")
    colours = [_COLOURS[1] if name.startswith("extproc") else _COLOURS[0] for name in cases]
    axes.barh(list(cases), [one.median for one in seen], xerr=_errors(seen), color=colours, capsize=3)
    return drawing


def _latency(results: Result) -> Any:
    cases = results["throughput"]["cases"]
    drawing, axes = _bars(list(cases), "latency in milliseconds, 32 connections (medians of the rounds)")
    for key, label, colour in zip(("p999", "p99", "p50"), ("p99.9", "p99", "p50"), _COLOURS, strict=False):
        values = [spread(row[key] for row in case["loaded"]).median / 1000 for case in cases.values()]
        axes.plot(values, list(cases), "o", color=colour, label=label)
    axes.set_xscale("log")
    axes.grid(axis="x", which="both", alpha=0.3)
    axes.legend(frameon=False)
    return drawing


def _cpu(results: Result) -> Any:
    cases = results["throughput"]["cases"]
    drawing, axes = _bars(list(cases), "processor time in microseconds a request")
    left = [0.0] * len(cases)
    for role, colour in zip(("envoy", "server", "upstream", "load"), _COLOURS, strict=True):
        values = [
            spread(row["cpu"].get(role, 0.0) for row in case["loaded"]).median for case in cases.values()
        ]
        axes.barh(list(cases), values, left=left, color=colour, label=role)
        left = [sum(pair) for pair in zip(left, values, strict=True)]
    axes.legend(frameon=False)
    return drawing


def _cold(results: Result) -> Any:
    drawing, axes = plt.subplots(figsize=(6, 3))
    delays = [row["sts"] for row in results["cold"]]
    for key, label, colour in zip(
        ("first", "second"), ("first request", "second request"), _COLOURS, strict=False
    ):
        seen = [spread(row[key]) for row in results["cold"]]
        axes.errorbar(
            delays,
            [one.median for one in seen],
            yerr=_errors(seen),
            label=label,
            color=colour,
            marker="o",
            capsize=3,
        )
    axes.set_xlabel("STS takes, ms")
    axes.set_ylabel("request takes, ms")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return drawing


def _growth(results: Result) -> Any:
    shown = (
        ("users", "users in turn"),
        ("sessions", "open sessions"),
        ("mappings", "mappings"),
        ("bodies", "bytes of body"),
    )
    drawing, columns = plt.subplots(1, len(shown), figsize=(14, 3), sharey=True)
    for axes, (key, label) in zip(columns, shown, strict=True):
        rows = results["growth"][key]
        seen = [Spread(*row[1], rounds=0) for row in rows]
        axes.errorbar(
            [row[0] for row in rows],
            [one.median for one in seen],
            yerr=_errors(seen),
            marker="o",
            capsize=3,
            color=_COLOURS[0],
        )
        if key != "mappings":
            axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    columns[0].set_ylabel("own work a warm request, µs")
    return drawing
