"""The delays between restarts."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.workers.backoff import FIRST, LONGEST, STABLE, BackOff


def test_delays_double_up_to_the_longest():
    back_off = BackOff()
    delays = [back_off.after(0.5) for _ in range(12)]
    assert delays[:4] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert delays[-1] == delays[-2] == LONGEST


def test_a_stable_process_resets_the_delay():
    back_off = BackOff()
    for _ in range(12):
        back_off.after(0.5)
    assert back_off.after(STABLE) == FIRST
    assert back_off.after(0.5) == 2 * FIRST


@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_delays_are_always_within_bounds(lives):
    back_off = BackOff()
    assert all(FIRST <= back_off.after(lived) <= LONGEST for lived in lives)
