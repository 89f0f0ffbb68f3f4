"""``make bench``: measure, judge, and write the report."""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import instructions, mcp_calls, report, through_envoy
from bench.idle_streams import idle_streams
from bench.judge import judge
from bench.load import find_generator
from bench.machine import machine, stolen
from bench.world import engines, running_world
from extproc.request import way

SECTIONS = (
    "throughput", "exchanges", "cold", "bodies", "mcp", "idle", "instructions", "micro", "growth", "memory",
)  # fmt: skip
_IN_WORLD = frozenset({"throughput", "exchanges", "cold", "bodies", "mcp", "idle"})
_PROXY = Path(".venv-bench-proxy/bin/mcp-proxy-for-aws")
_GO_NOOP = Path(".go-noop/noop")
_COUNTED_REQUESTS = 300
_INPROCESS_WITHIN = 600.0  # seconds


def main() -> None:
    """Run the sections asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="in two minutes, to see that it works")
    parser.add_argument(
        "--only", default=",".join(SECTIONS), help="sections, separated by commas: %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the report (bench; bench/out for quick or partial runs)"
    )
    parser.add_argument("--proxy", type=Path, default=_PROXY, help="mcp-proxy-for-aws to compare with")
    parser.add_argument("--go-noop", type=Path, default=_GO_NOOP, help="a compiled server that does nothing")
    parser.add_argument("--own-generator", action="store_true", help="do without wrk")
    arguments = parser.parse_args()
    wanted = set(arguments.only.split(","))
    if wanted - set(SECTIONS):
        parser.error(f"unknown sections: {', '.join(sorted(wanted - set(SECTIONS)))}")
    complete = wanted == set(SECTIONS) and not arguments.quick
    out = arguments.out or Path("bench" if complete else "bench/out")
    results = run(
        through_envoy.QUICK if arguments.quick else through_envoy.FULL,
        wanted,
        quick=arguments.quick,
        proxy=arguments.proxy if arguments.proxy.exists() else None,
        go_noop=arguments.go_noop if arguments.go_noop.exists() else None,
        own_generator=arguments.own_generator,
    )
    write(results, out)
    for verdict in judge(results):
        print(f"{'met    ' if verdict.met else 'not met'}  {verdict.target}: {verdict.measured}")
    print(f"{out / 'report.md'} is written")


def run(
    plan: through_envoy.Plan,
    wanted: set[str],
    *,
    quick: bool,
    proxy: Path | None,
    go_noop: Path | None = None,
    own_generator: bool = False,
) -> dict[str, Any]:
    """Measure; returns what ``report.render`` shows."""
    generator = find_generator(prefer_own=own_generator)
    started, stolen_before = time.monotonic(), stolen()
    results: dict[str, Any] = {
        "quick": quick,
        "machine": machine(),
        "engines": engines(),
        "is_compiled": not str(way.__file__).endswith(".py"),
        "generator": generator.name,
        "connections": through_envoy.CONNECTIONS,
        "seconds": plan.seconds,
        "proxy": _version(proxy),
    }
    if wanted & _IN_WORLD:
        with tempfile.TemporaryDirectory() as directory, running_world(Path(directory), go_noop) as world:
            sections = {
                "throughput": lambda: through_envoy.throughput(world, generator, plan),
                "exchanges": lambda: through_envoy.exchanges(world, generator, plan),
                "cold": lambda: through_envoy.cold_path(world, plan),
                "bodies": lambda: through_envoy.bodies(world, generator, plan),
                "mcp": lambda: mcp_calls.compare(
                    world,
                    proxy,
                    calls=plan.proxy_calls,
                    rounds=min(plan.rounds - 1, 2),
                    delays=plan.proxy_delays,
                ),
                "idle": lambda: idle_streams(plan.idle_streams, world),
            }
            for name, measure in sections.items():
                if name in wanted:
                    _say(name, started)
                    results[name] = measure()
    if "instructions" in wanted and shutil.which("valgrind"):
        _say("instructions", started)
        results["instructions"] = {
            instructions.name_of(users, kind): instructions.count(users, _COUNTED_REQUESTS, kind)
            for kind in instructions.KINDS
            for users in ((1,) if quick else (1, plan.users))
        }
    if "micro" in wanted:
        _say("micro", started)
        results["micro"] = _inprocess("micro", plan.micro_seconds)
    if "growth" in wanted:
        _say("growth", started)
        results["growth"] = _inprocess("growth", plan.micro_seconds, plan.most_users, plan.most_mappings)
    if "memory" in wanted:
        _say("memory", started)
        results["memory"] = [_inprocess("memory", plan.sessions[0], "traced")]
        results["memory"] += [_inprocess("memory", count) for count in plan.sessions]
    if "throughput" in results:
        results["noise"] = through_envoy.noise(results["throughput"])
    results["took"] = time.monotonic() - started
    results["stolen"] = (stolen() - stolen_before) / (results["took"] * (os.cpu_count() or 1))
    return results


def write(results: dict[str, Any], out: Path) -> None:
    """The report, its plots, and the figures they are made of."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    from bench import plots  # noqa: PLC0415 - matplotlib takes a second, which tests of the bench do without

    drawn = plots.draw(results, out)
    (out / "report.md").write_text(report.render(results, plots=drawn), encoding="utf-8")


def _inprocess(*arguments: object) -> Any:
    finished = subprocess.run(
        [sys.executable, "-m", "bench.inprocess", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=_INPROCESS_WITHIN,
    )  # fmt: skip
    if finished.returncode:
        raise RuntimeError(f"bench.inprocess {arguments} failed:\n{finished.stderr[-2000:]}")
    return json.loads(finished.stdout.rstrip().rsplit("\n", 1)[1])


def _version(proxy: Path | None) -> str | None:
    if proxy is None:
        return None
    show = [
        str(proxy.parent / "python"),
        "-c",
        "from importlib.metadata import version as v; print(v('mcp-proxy-for-aws'))",
    ]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(show, capture_output=True, text=True, check=True).stdout.strip()
    return "of unknown version"


def _say(name: str, started: float) -> None:
    print(f"{time.monotonic() - started:5.0f} s  {name} ...", flush=True)


if __name__ == "__main__":
    main()
