import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import bucket, merged, percentile, ratio, spread

rates = st.lists(st.floats(0.001, 1e9), min_size=1, max_size=20)


@given(rates)
def test_a_spread_is_the_median_between_the_lowest_and_the_highest_round(values):
    seen = spread(values)
    assert (seen.low, seen.median, seen.high) == (min(values), statistics.median(values), max(values))
    assert seen.low <= seen.median <= seen.high
    assert seen.rounds == len(values)


def test_no_rounds_have_no_spread():
    with pytest.raises(ValueError, match="no rounds"):
        spread([])


def test_ratios_are_taken_round_by_round():
    # A machine at half its speed in the second round changes no ratio.
    assert ratio([50, 25], [100, 50]) == spread([0.5, 0.5])


def test_rounds_without_a_counterpart_are_refused():
    with pytest.raises(ValueError, match="zip"):
        ratio([1, 2], [1])


@given(st.integers(0, 10**9))
def test_a_bucket_keeps_three_digits(latency):
    kept = bucket(latency)
    assert kept <= latency
    assert latency - kept <= latency // 100
    assert bucket(kept) == kept


@given(st.lists(st.integers(0, 10**6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_counted_latency_that_so_many_do_not_exceed(latencies, share):
    counts = merged([{latency: 1} for latency in latencies])
    found = percentile(counts, share)
    assert found in latencies
    assert sum(latency <= found for latency in latencies) >= round(share * len(latencies))
    assert sum(latency < found for latency in latencies) < max(1, round(share * len(latencies)))


def test_nothing_counted_has_no_percentile():
    with pytest.raises(ValueError, match="nothing"):
        percentile({}, 0.5)
