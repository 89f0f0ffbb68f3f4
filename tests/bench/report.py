"""``bench/report.md``: verdicts first, then every table, then what it was measured on."""

from collections.abc import Iterable, Sequence
from typing import Any

from bench.judge import KIB, MIB, judge, reference_noop
from bench.stats import Spread, ratio, spread

Result = dict[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"


def figure(seen: Spread, *, digits: int = 0) -> str:
    """A median with its lowest and highest round."""
    return f"{seen.median:,.{digits}f} ({seen.low:,.{digits}f}-{seen.high:,.{digits}f})"


def render(results: Result, *, plots: Sequence[str] = ()) -> str:
    """The whole report as Markdown."""
    sections = [_head(results)]
    for key, section in (
        ("throughput", _throughput),
        ("exchanges", _exchanges),
        ("cold", _cold),
        ("mcp", _mcp),
        ("instructions", _instructions),
        ("micro", _micro),
        ("growth", _growth),
        ("bodies", _bodies),
        ("memory", _memory),
        ("idle", _idle),
    ):
        if key in results:
            sections.append(section(results))
    sections.append(_machine(results))
    shown = "".join(f"![{name.partition('.')[0].replace('-', ' ')}]({name})\n\n" for name in plots)
    return "\n".join([*sections[:1], shown.rstrip("\n") + "\n" if shown else "", *sections[1:]])


def _head(results: Result) -> str:
    kind = "a quick run: too short to be quoted" if results["quick"] else "a full run"
    rows = [
        (
            verdict.target + (" (stretch)" if verdict.stretch else ""),
            verdict.measured,
            "met" if verdict.met else "not met",
        )
        for verdict in judge(results)
    ]
    return (
        "# Benchmark\n\n"
        f"Written by `make bench` ({kind}). What it means is in "
        "[docs/performance.md](../docs/performance.md).\n\n"
        "Median, and in brackets the lowest and the highest round. Ratios are taken round by round.\n\n"
        "## Targets\n\n" + table(("target", "measured", ""), rows)
    )


def _throughput(results: Result) -> str:
    measured = results["throughput"]
    cases = measured["cases"]
    reference = reference_noop(cases, results["engines"])
    base = [row["rate"] for row in cases[reference]["loaded"]]
    rates, latencies, costs = [], [], []
    for name, case in cases.items():
        rounds = case["loaded"]
        rate = [row["rate"] for row in rounds]
        rates.append(
            (name, figure(spread(rate)), figure(ratio(rate, base), digits=2), "all" if case["signs"] else "-")
        )
        single = [row["p50"] for row in case["alone"]]
        latencies.append(
            (
                name,
                *(
                    f"{spread(row[key] for row in rounds).median / 1000:.2f}"
                    for key in ("p50", "p99", "p999")
                ),
                f"{spread(single).median / 1000:.3f}" if single else "-",
            )
        )
        resident = measured["rss"].get(case["process"] or "")
        both = [row["cpu"]["envoy"] + row["cpu"].get("server", 0.0) for row in rounds]
        costs.append(
            (
                name,
                *(
                    figure(spread(row["cpu"][role] for row in rounds)) if role in rounds[0]["cpu"] else "-"
                    for role in ("envoy", "server", "upstream", "load")
                ),
                f"{1e6 / spread(both).median:,.0f}",
                f"{spread(both).median:,.0f}",
                f"{resident / MIB:.0f}" if resident else "-",
            )
        )
    return (
        f"## Through Envoy: signed POST of 150 bytes, {results['connections']} connections\n\n"
        f"{len(base)} rounds of {results['seconds']} s, in rotating order. The upstream answers 403 to whatever "
        "has no signature, and no answer but 200 was seen; before and after, a request of each contender went to "
        "an independent verifier of signatures.\n\n"
        + table(("", "requests/s", f"of the {reference}", "signed"), rates)
        + "\nLatency in milliseconds, medians of the rounds:\n\n"
        + table(("", "p50", "p99", "p99.9", "p50, one connection"), latencies)
        + "\nProcessor time in microseconds a request; what a core of Envoy and server together answers in a second, "
        "and core-seconds of both for a million requests; resident memory of the server in MiB:\n\n"
        + table(
            (
                "",
                "Envoy",
                "server",
                "upstream",
                "load generator",
                "requests per core-second",
                "core-seconds per million",
                "memory",
            ),
            costs,
        )
    )


def _exchanges(results: Result) -> str:
    rows = []
    for delay, rounds in results["exchanges"].items():
        for name, seen in rounds.items():
            calls = [row["exchanges"] / row["requests"] for row in seen]
            rows.append(
                (
                    f"{delay} ms",
                    name,
                    figure(spread(row["rate"] for row in seen)),
                    f"{spread(row['p50'] for row in seen).median / 1000:.1f}",
                    f"{seen[0]['exchanges']:,}",
                    f"{spread(calls).median:.3f}",
                )
            )
    return (
        "## One user, STS at 0 and 30 ms\n\n"
        f"{results['connections']} connections of a user nobody has seen before. “Exchange per request” is the "
        "product with nothing remembered: it verifies, decides and exchanges for each request.\n\n"
        + table(
            ("STS", "", "requests/s", "p50 ms", "exchanges in the first round", "exchanges a request"), rows
        )
    )


def _cold(results: Result) -> str:
    rows = [
        (
            f"{row['sts']:.0f}",
            figure(spread(row["first"]), digits=1),
            f"{spread(row['first']).median - row['sts']:.1f}",
            figure(spread(row["second"]), digits=1),
        )
        for row in results["cold"]
    ]
    return "## A user's first request\n\nMilliseconds, one connection.\n\n" + table(
        ("STS takes", "first request", "beyond STS", "second request"), rows
    )


def _mcp(results: Result) -> str:
    rows = []
    for delay, by_name in results["mcp"].items():
        for name, seen in by_name.items():
            if seen:
                calls = spread(row["exchanges"] / row["calls"] for row in seen).median
                rows.append(
                    (
                        f"{delay} ms",
                        name,
                        figure(spread(row["first"] for row in seen)),
                        figure(spread(row["p50"] for row in seen), digits=1),
                        figure(spread(row["rate_together"] for row in seen)),
                        figure(spread(row["cpu"] for row in seen)),
                        f"{calls:.2f}",
                    )
                )
    version = results["proxy"] or "not installed, so not measured"
    return (
        "## Tool calls of the official MCP client\n\n"
        f"mcp-proxy-for-aws: {version}. It runs as a process of the user's beside the client and speaks to it over "
        "standard streams; Envoy and extproc serve all users. Both have the same MCP server and the same STS behind "
        "them. Calls a second with 8 at once; processor time of what stands between client and server.\n\n"
        + table(
            (
                "STS",
                "",
                "first call, with the start, ms",
                "p50 ms",
                "calls/s",
                "µs a call",
                "exchanges a call",
            ),
            rows,
        )
    )


def _micro(results: Result) -> str:
    rows = [
        (name, f"{median:.1f} ({low:.1f}-{high:.1f})")
        for name, (median, low, high) in results["micro"].items()
    ]
    return (
        "## Our own work, in one process\n\nMicroseconds; the whole holds everything but the transport.\n\n"
        + table(("step", "µs"), rows)
    )


def _instructions(results: Result) -> str:
    rows = [
        (
            name,
            f"{row['instructions']:,}",
            ", ".join(f"{library.partition('.')[0]} {cost:,}" for library, cost in row["libraries"].items()),
        )
        for name, row in results["instructions"].items()
    ]
    return (
        "## Instructions of a warm request\n\nOf the real server, counted by callgrind (`make instructions`).\n\n"
        + table(("", "instructions", "of them in"), rows)
    )


def _growth(results: Result) -> str:
    growth = results["growth"]
    return (
        "## How cost grows\n\nMicroseconds of our own work for a warm request (head and body), in one process.\n\n"
        + table(("users", "warm request"), [(f"{n:,}", _row(seen)) for n, seen in growth["users"]])
        + "\n"
        + table(
            ("open sessions, one of them at work", "warm request"),
            [(f"{n:,}", _row(seen)) for n, seen in growth["sessions"]],
        )
        + "\n"
        + table(
            ("mappings (CEL, none matches)", "warm request", "a user's decision, once"),
            [(str(n), _row(warm), _row(cold)) for n, warm, cold in growth["mappings"]],
        )
        + "\n"
        + table(("body", "warm request"), [(_size(n), _row(seen)) for n, seen in growth["bodies"]])
        + f"\nOne decision over {growth['forms']['mappings']} mappings of a form; none matches.\n\n"
        + table(
            ("form", "groups", "outcome", "decision"),
            [
                (f"`{form}`", f"{n:,}", outcome, _row(seen))
                for form, n, outcome, seen in growth["forms"]["rows"]
            ],
        )
    )


def _bodies(results: Result) -> str:
    rows = []
    for row in results["bodies"]:
        noop, ours = (name for name in row if name != "size")
        rows.append(
            (
                _size(row["size"]),
                figure(spread(row[noop])),
                figure(spread(row[ours])),
                figure(ratio(row[ours], row[noop]), digits=2),
            )
        )
    return "## Bodies through Envoy, 8 connections\n\nRequests a second.\n\n" + table(
        ("body", noop, ours, "ratio"), rows
    )


def _memory(results: Result) -> str:
    rows = [
        (
            f"{row['sessions']:,}",
            "traced allocations" if row["traced"] else "resident memory",
            f"{row['held'] / row['sessions'] / KIB:.2f}",
            f"{row['tokens'] / row['sessions'] / KIB:.2f}",
            f"{(row['held'] - row['tokens']) / row['sessions'] / KIB:.2f}",
        )
        for row in results["memory"]
    ]
    return (
        "## Memory of sessions\n\nKiB a session. Tokens: the user's, which is kept to renew credentials, and the "
        "session token, which every request carries.\n\n"
        + table(("sessions", "measured as", "in all", "tokens", "beside them"), rows)
    )


def _idle(results: Result) -> str:
    rows = [
        (row["engine"], f"{row['streams']:,}", f"{row['before'] / MIB:.0f}", f"{row['during'] / MIB:.0f}")
        for row in results["idle"]
    ]
    return (
        "## Idle streams\n\nResident memory of the server in MiB; each stream has sent its head and keeps its body.\n\n"
        + table(("engine", "streams", "before", "with them"), rows)
    )


def _machine(results: Result) -> str:
    facts = [*results["machine"].items(), ("load generator", results["generator"])]
    if "noise" in results:
        facts.append(("noise", f"Envoy alone varied by {results['noise']:.0%} from round to round"))
    facts.append(
        ("stolen", f"{results['stolen']:.1%} of the processors' time went to other machines on the host")
    )
    facts.append(("took", f"{results['took']:.0f} s"))
    return "## Measured on\n\n" + table(("", ""), facts)


def _row(seen: Sequence[float]) -> str:
    return figure(Spread(*seen, rounds=0), digits=1)


def _size(size: int) -> str:
    return f"{size / MIB:.0f} MiB" if size >= MIB - KIB else f"{size / KIB:.0f} KiB"
