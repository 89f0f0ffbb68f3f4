"""Rates and quantiles from metrics, and the plots of them."""

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from extproc.console import rates
from extproc.console.plots import HEIGHT, WIDTH, formatted, plot, rounded_up
from extproc.console.rates import Rates, Sample, quantile
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.record import RequestRecord
from support.tables import each_case


def exposed(allowed, denied, own=0.003):
    metrics = Metrics()
    for decision, count in (("allow", allowed), ("deny", denied)):
        for _ in range(count):
            record = RequestRecord()
            record.decision, record.own, record.target, record.cache = decision, own, "t", "hit"
            metrics.decided(record)
    return generate_latest(metrics.registry).decode()


def test_rates_are_differences_over_time():
    series = Rates()
    series.add(rates.read(exposed(10, 1), at=100.0))
    series.add(rates.read(exposed(30, 6), at=105.0))
    (point,) = series.points()
    assert (point.at, point.allowed, point.denied, point.exchanges) == (105.0, 4.0, 1.0, 0.0)
    assert 0.0005 < point.median < 0.01
    assert point.median <= point.slowest


def test_a_restart_of_the_server_leaves_a_gap_and_nothing_below_zero():
    series = Rates()
    for at, allowed in ((0, 100), (5, 120), (10, 3), (15, 8)):
        series.add(Sample(at, {"allow": allowed}, {}, 0.0))
    assert [(point.at, point.allowed) for point in series.points()] == [(5, 4.0), (15, 1.0)]
    assert series.points()[0].median is None


@each_case(("share", "expected"), [(0.5, 1.0), (0.25, 0.5), (0.75, 2.0), (1.0, 3.0)])
def test_quantiles_are_interpolated_in_their_bucket(share, expected):
    assert quantile(share, [1.0, 3.0, float("inf")], [10, 20, 20]) == expected


def test_a_quantile_beyond_all_buckets_is_the_last_bound():
    assert quantile(0.99, [1.0, float("inf")], [0, 5]) == 1.0
    assert quantile(0.5, [1.0], [0]) is None
    assert quantile(0.5, [], []) is None


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e9)), max_size=50))
def test_every_plot_stays_in_its_frame(values):
    times = [float(number) for number in range(len(values))]
    drawn = plot("t", times, [("a", "allow", values)], unit="/s", span=30)
    for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", drawn.lines[0].path + drawn.lines[0].area):
        assert 0 <= float(x) <= WIDTH
        assert 0 <= float(y) <= HEIGHT
    assert "a" in drawn.summary


@given(st.floats(1e-9, 1e12))
def test_scales_are_numbers_that_people_read(value):
    top = rounded_up(value)
    assert value * 0.999 <= top <= value * 10.001
    assert f"{top:.0e}"[0] in "125"


def test_a_scale_of_nothing_is_one():
    assert rounded_up(0) == 1.0


@each_case(
    ("value", "unit", "text"),
    [
        (None, "s", "none"),
        (0.0123, "s", "12.3 ms"),
        (1.5, "s", "1.5 s"),
        (0.00042, "s", "420 µs"),
        (12.34, "/s", "12.3/s"),
        (12345.6, "/s", "12,346/s"),
    ],
)
def test_values_are_shown_with_their_unit(value, unit, text):
    assert formatted(value, unit) == text
