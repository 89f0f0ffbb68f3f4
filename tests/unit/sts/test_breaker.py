"""The circuit breaker's states."""

import pytest

from extproc.sts.breaker import CircuitBreaker, State
from support.credentials import START, FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(failures=3, open_for=10, clock=clock)


def fail(breaker, times=1):
    for _ in range(times):
        assert breaker.admits()
        breaker.failed()


def test_it_opens_after_failures_in_a_row_only(breaker):
    fail(breaker, 2)
    assert breaker.admits()
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state is State.CLOSED
    fail(breaker)
    assert breaker.state is State.OPEN
    assert not breaker.admits()


def test_after_a_while_one_probe_is_let_through_and_its_success_closes(breaker, clock):
    fail(breaker, 3)
    clock.now = START + 10
    assert breaker.state is State.HALF_OPEN
    assert [breaker.admits() for _ in range(5)] == [True, False, False, False, False]
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert breaker.admits()


def test_a_probe_that_fails_opens_it_for_the_whole_while_again(breaker, clock):
    fail(breaker, 3)
    clock.now = START + 10
    fail(breaker)
    clock.now = START + 19.9
    assert not breaker.admits()
    clock.now = START + 20
    assert breaker.admits()


def test_a_probe_that_is_abandoned_lets_another_one_try(breaker, clock):
    fail(breaker, 3)
    clock.now = START + 10
    assert breaker.admits()
    breaker.abandoned()
    assert breaker.admits()


def test_a_clock_set_back_does_not_keep_it_open(breaker, clock):
    fail(breaker, 3)
    clock.now = START - 1000
    assert breaker.admits()
