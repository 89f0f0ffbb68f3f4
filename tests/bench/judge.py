"""The targets, and whether a run met them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.instructions import name_of
from bench.stats import Spread, ratio, spread
from bench.world import GO_NOOP, full, noop

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
    if "instructions" in results:
        found.append(_instructions(results))
    for row in results.get("memory", ()):
        each = (row["held"] - row["tokens"]) / row["sessions"]
        how = "traced allocations" if row["traced"] else "resident memory"
        found.append(
            Verdict(
                f"{row['sessions']:,} sessions, {how}: at most 3 KiB each beside their tokens",
                f"{each / KIB:.2f} KiB",
                each <= 3 * KIB,
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


def _instructions(results: dict[str, Any]) -> Verdict:
    counted = results["instructions"][name_of(1, "uncounted")]["instructions"]
    most = 300_000 if results["is_compiled"] else 380_000
    build = "compiled" if results["is_compiled"] else "pure"
    target = f"instructions of a warm request, {build} build: at most {most:,}"
    return Verdict(target, f"{counted:,}", counted <= most)


def reference_noop(cases: dict[str, Any], engines: Sequence[str]) -> str:
    """The no-op that all is measured against: the compiled one, else the fastest of ours."""
    if GO_NOOP in cases:
        return GO_NOOP
    return max(map(noop, engines), key=lambda name: spread(_of(cases, name, "rate")).median)


def _through_envoy(cases: dict[str, Any], engines: Sequence[str]) -> list[Verdict]:
    reference, ours = reference_noop(cases, engines), full(engines[0])
    rates = ratio(_of(cases, ours, "rate"), _of(cases, reference, "rate"))
    p99 = ratio(_of(cases, ours, "p99"), _of(cases, reference, "p99"))
    p50 = ratio(_of(cases, ours, "p50", "alone"), _of(cases, reference, "p50", "alone"))
    envoy, server = (
        ratio(_cpu(cases, ours, role), _cpu(cases, reference, role)) for role in ("envoy", "server")
    )
    return [
        Verdict(f"throughput: at least 0.85 of the {reference}", _ratio(rates), rates.median >= 0.85),
        Verdict(f"throughput: 0.95 of the {reference}", _ratio(rates), rates.median >= 0.95, stretch=True),
        Verdict(f"p50 at one connection: at most 1.12 of the {reference}", _ratio(p50), p50.median <= 1.12),
        Verdict(f"p99 under load: at most 1.5 of the {reference}", _ratio(p99), p99.median <= 1.5),
        Verdict(f"processor time: at most 2.5 of the {reference}", _ratio(server), server.median <= 2.5),
        Verdict(
            f"Envoy's processor time: at most 1.1 of that with the {reference}",
            _ratio(envoy),
            envoy.median <= 1.1,
        ),
    ]


def _cpu(cases: dict[str, Any], name: str, role: str) -> list[float]:
    return [row["cpu"][role] for row in cases[name]["loaded"]]


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
