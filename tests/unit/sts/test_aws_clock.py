"""The clock learned from STS's Date."""

from email.utils import formatdate

import pytest

from extproc.sts.aws_clock import AwsClock
from support.credentials import START, FakeClock
from support.tables import each_case


@each_case("ahead", [0, 1, -1, 4, -4])
def test_small_differences_are_put_down_to_the_network(ahead):
    clock = AwsClock(system=FakeClock())
    clock.observe(formatdate(START + ahead, usegmt=True))
    assert clock.offset == 0
    assert clock() == START


@pytest.mark.parametrize("ahead", [600, -600, 3500])
def test_larger_ones_are_applied(ahead):
    clock = AwsClock(system=FakeClock())
    clock.observe(formatdate(START + ahead, usegmt=True))
    assert clock() == pytest.approx(START + ahead, abs=1)


def test_a_clock_that_was_put_right_is_trusted_again():
    system = FakeClock(START - 600)
    clock = AwsClock(system=system)
    clock.observe(formatdate(START, usegmt=True))
    system.now = START
    clock.observe(formatdate(START, usegmt=True))
    assert clock() == START


@each_case(
    "date",
    [None, "", "yesterday", "Sun, 99 Nov 2026 99:00:00 GMT", "\x00", formatdate(START + 7200, usegmt=True)],
)
def test_a_date_that_cannot_be_read_changes_nothing(date):
    clock = AwsClock(system=FakeClock())
    clock.observe(date)
    assert clock.offset == 0
