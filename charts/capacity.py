"""Compute replicas, memory and STS's load from the figures in ``bench/report.md``; prints Markdown."""

import math
import re
from pathlib import Path

REPORT = Path(__file__).parents[1] / "bench" / "report.md"
UTILISATION = 0.6  # of a core, as the chart's autoscaler has it
TOKENS = 4.0  # KiB beside a session: the user's token and AWS's session token
SESSION_SECONDS = 3600
RENEWED = 0.9  # renewed before its end, of its life
COLD_USERS = 5  # times the own work of one user's requests, with 10,000 users in turn (docs/performance.md)
ROWS = [(100, 10), (1_000, 100), (10_000, 500), (100_000, 2_000), (1_000_000, 10_000)]


def figure(pattern: str) -> float:
    """Return a number of the report."""
    found = re.search(pattern, REPORT.read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit(f"{REPORT} has no figure for {pattern}")
    return float(found[1].replace(",", ""))


def request_cost() -> float:
    """Return the server's processor time for a request of one of very many users, in microseconds."""
    own = figure(r"own work for a warm request[^|]*\| ([\d.]+) µs")
    # Envoy, server, upstream, load, requests a core-second, core-seconds a million requests, memory.
    row = r"\| extproc, completion_queue \| [^|]+\| ([\d,]+) \([^|]*\|" + r" [^|]+\|" * 2 + r" [\d,]+ \|" * 3
    one_user = figure(row)
    return one_user + (COLD_USERS - 1) * own


def rows() -> list[str]:
    """Return a row for each number of users and requests a second."""
    cost = request_cost()
    session = figure(r"100,000 sessions, resident memory[^|]*\| ([\d.]+) KiB") + TOKENS
    base = figure(r"\| extproc, completion_queue \|.*\| (\d+) \|\n")
    found = []
    for users, rate in ROWS:
        replicas = max(2, math.ceil(rate * cost / 1e6 / UTILISATION) + 1)  # one may be away
        each = base + users / (replicas - 1) * session / 1024
        exchanges = users / (SESSION_SECONDS * RENEWED)
        lost = users / replicas
        found.append(
            f"| {users:,} | {rate:,} | {replicas} | {math.ceil(each / 64) * 64:,} MiB "
            f"| {exchanges:,.1f} | {lost:,.0f} |"
        )
    return found


def page() -> str:
    """Return the table."""
    head = (
        f"A request costs {request_cost():.0f} µs of one core, at most {1e6 / request_cost():,.0f} a second; "
        f"replicas are planned for {UTILISATION:.0%} of that, and for one that is away.\n\n"
        "| users with a session | requests/s | replicas of one core | memory of each | exchanges/s at STS "
        "| users of a replica that fails |\n|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows()) + "\n"


if __name__ == "__main__":
    print(page(), end="")
