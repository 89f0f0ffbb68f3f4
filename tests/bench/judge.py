"""The targets, and whether a run met them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.stats import Spread, ratio, spread

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target. ``stretch``: met or not, nobody promised it."""

    target: str
    measured: str
    met: bool
    stretch: bool = False


def judge(results: dict[str, Any]) -> list[Verdict]:
    """Every target that this run measured."""
    found: list[Verdict] = []
    if "throughput" in results:
        found += _through_envoy(results["throughput"]["cases"], results["engines"])
    if "micro" in results:
        work, low, high = results["micro"]["whole warm request: head and body"]
        found.append(
            Verdict(
                "own work for a warm request: at most 40 µs",
                f"{work:.0f} µs ({low:.0f}-{high:.0f})",
                work <= 40,
            )
        )
    if "exchanges" in results:
        found += _exchanges(results["exchanges"])
    for row in results.get("memory", ()):
        each = (row["held"] - row["tokens"]) / row["sessions"]
        how = "traced allocations" if row["traced"] else "resident memory"
        found.append(
            Verdict(
                f"{row['sessions']:,} sessions, {how}: at most 4 KiB each beside their tokens",
                f"{each / KIB:.2f} KiB",
                each <= 4 * KIB,
            )
        )
    for row in results.get("idle", ()):
        what = f"{row['streams']:,} idle streams on {row['engine']}"
        for counted, size in (
            ("", row["during"] - row["before"]),
            (", and the server itself", row["during"]),
        ):
            verdict = Verdict(
                f"{what}{counted}: less than 200 MiB", f"{size / MIB:.0f} MiB", size < 200 * MIB
            )
            found.append(verdict)
    return found


def fastest_noop(cases: dict[str, Any], engines: Sequence[str]) -> str:
    """The no-op that all is measured against."""
    return max(
        (f"no-op, {engine}" for engine in engines), key=lambda name: spread(_of(cases, name, "rate")).median
    )


def _through_envoy(cases: dict[str, Any], engines: Sequence[str]) -> list[Verdict]:
    reference, ours = fastest_noop(cases, engines), f"extproc, {engines[0]}"
    rates = ratio(_of(cases, ours, "rate"), _of(cases, reference, "rate"))
    p99 = ratio(_of(cases, ours, "p99"), _of(cases, reference, "p99"))
    p50 = ratio(_of(cases, ours, "p50", "alone"), _of(cases, reference, "p50", "alone"))
    return [
        Verdict(f"throughput: at least 0.85 of the {reference}", _ratio(rates), rates.median >= 0.85),
        Verdict(f"throughput: level with the {reference}", _ratio(rates), rates.median >= 1, stretch=True),
        Verdict(f"p50 at one connection: at most 1.25 of the {reference}", _ratio(p50), p50.median <= 1.25),
        Verdict(f"p99 under load: at most 1.5 of the {reference}", _ratio(p99), p99.median <= 1.5),
    ]


def _of(cases: dict[str, Any], name: str, what: str, when: str = "loaded") -> list[float]:
    return [row[what] for row in cases[name][when]]


def _exchanges(measured: dict[str, Any]) -> list[Verdict]:
    (ours, seen), (_, anew) = measured["30"].items()
    gain = ratio([row["rate"] for row in seen], [row["rate"] for row in anew])
    counts = sorted({row["exchanges"] for row in seen})
    return [
        Verdict(
            f"STS at 30 ms: {ours} at least 50 times an exchange per request", _ratio(gain), gain.median >= 50
        ),
        Verdict(
            "exactly one exchange for 32 connections of one user",
            f"{', '.join(map(str, counts))} in each of {len(seen)} rounds",
            counts == [1],
        ),
    ]


def _ratio(seen: Spread) -> str:
    return f"{seen.median:.2f} ({seen.low:.2f}-{seen.high:.2f})"
