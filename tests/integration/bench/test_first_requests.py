"""New users cost little, and do not slow the requests of others."""

import statistics

import pytest

from bench.first_requests import measure

CPU_MS = 5.0
SLOWER = 2.0


@pytest.mark.long
async def test_first_requests_are_cheap_and_do_not_slow_warm_ones():
    """200 new users and 2,000 warm requests a second. Needs an idle machine: it is a ratio of latencies."""
    seen = await measure(5.0)
    assert max(seen["cpu_ms"].values()) <= CPU_MS, seen
    assert seen["refused"] == 0, seen
    alone, beside = (statistics.median(seen["warm_p99_ms"][kind]) for kind in ("alone", "beside"))
    assert beside <= SLOWER * alone, seen
