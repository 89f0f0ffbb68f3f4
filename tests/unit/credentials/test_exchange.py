"""The budget of an exchange: deadline, queue, breaker."""

import asyncio
import threading
import time

import pytest

from extproc.credentials.breaker import CircuitBreaker, State
from extproc.credentials.exchange import StsExchange
from extproc.errors import Denied, Reason
from extproc.values import Credentials
from support.credentials import START, FakeClock, grant


class FakeSts:
    """Blocks as the real one does; ``gate`` closed means that STS hangs."""

    def __init__(self):
        self.calls = 0
        self.failure = None
        self.gate = threading.Event()
        self.gate.set()

    def assume(self, _token, _grant):
        self.calls += 1
        self.gate.wait(5)
        if self.failure is not None:
            raise self.failure
        return Credentials("ASIA", "secret", "token", START + 900)

    def close(self):
        self.gate.set()


class Parts:
    def __init__(self, *, deadline=1.0, workers=2, max_waiting=4, failures=3):
        self.sts = FakeSts()
        self.clock = FakeClock()
        self.breaker = CircuitBreaker(failures=failures, open_for=10, clock=self.clock)
        self.outcomes = []
        self.exchange = StsExchange(
            sts=self.sts,
            breaker=self.breaker,
            deadline=deadline,
            workers=workers,
            max_waiting=max_waiting,
            on_outcome=lambda outcome, code, seconds: self.outcomes.append((outcome, code, seconds >= 0)),
        )

    async def ask(self):
        try:
            return await self.exchange.exchange("t.o.k", grant())
        except Denied as denied:
            return denied.reason


@pytest.fixture
def make():
    made = []

    def build(**options):
        made.append(Parts(**options))
        return made[-1]

    yield build
    for parts in made:
        parts.exchange.close()


async def test_an_exchange_gives_credentials_and_counts(make):
    parts = make()
    assert (await parts.ask()).access_key_id == "ASIA"
    assert parts.outcomes == [("ok", "", True)]


async def test_a_hanging_sts_is_left_at_the_deadline(make):
    parts = make(deadline=0.05)
    parts.sts.gate.clear()
    assert await parts.ask() is Reason.STS_UNAVAILABLE


async def test_a_full_queue_refuses_at_once_and_threads_that_hang_count_until_they_are_free(make):
    parts = make(deadline=0.05, max_waiting=2, failures=100)
    parts.sts.gate.clear()
    assert await asyncio.gather(parts.ask(), parts.ask()) == [Reason.STS_UNAVAILABLE] * 2
    assert parts.exchange.waiting == 2  # their threads still hang
    began = time.monotonic()
    assert await parts.ask() is Reason.STS_UNAVAILABLE
    assert time.monotonic() - began < 0.04
    assert parts.sts.calls == 2
    parts.sts.gate.set()
    for _ in range(100):
        await asyncio.sleep(0.01)
        if parts.exchange.waiting == 0:
            break
    assert (await parts.ask()).access_key_id == "ASIA"


async def test_what_waits_in_the_queue_past_its_deadline_is_never_asked(make):
    parts = make(deadline=0.05, workers=1, max_waiting=4, failures=100)
    parts.sts.gate.clear()
    await asyncio.gather(*(parts.ask() for _ in range(4)))
    parts.sts.gate.set()
    await asyncio.sleep(0.1)
    assert parts.sts.calls == 1


async def test_a_down_sts_is_asked_a_few_times_then_left_alone_and_one_probe_finds_it_back(make):
    parts = make()
    parts.sts.failure = Denied(Reason.STS_UNAVAILABLE)
    for second in range(600):
        parts.clock.now = START + second
        assert await parts.ask() is Reason.STS_UNAVAILABLE
    assert parts.sts.calls <= 3 + 600 / 10
    parts.sts.failure = None
    parts.clock.now = START + 620
    assert (await parts.ask()).access_key_id == "ASIA"
    assert parts.breaker.state is State.CLOSED


@pytest.mark.parametrize(
    "reason",
    [
        Reason.STS_ACCESS_DENIED,
        Reason.STS_TOKEN_REFUSED,
        Reason.STS_TOKEN_EXPIRED,
        Reason.STS_MISCONFIGURED,
        Reason.STS_PROVIDER_UNREACHABLE,
    ],
)
async def test_refusals_of_one_users_token_never_open_the_breaker_for_all(make, reason):
    parts = make()
    parts.sts.failure = Denied(reason)
    for _ in range(20):
        assert await parts.ask() is reason
    assert parts.breaker.state is State.CLOSED


async def test_throttling_opens_it(make):
    parts = make()
    parts.sts.failure = Denied(Reason.STS_THROTTLED)
    for _ in range(5):
        await parts.ask()
    assert parts.breaker.state is State.OPEN
    assert parts.sts.calls == 3


async def test_one_who_leaves_during_a_probe_does_not_keep_the_breaker_half_open(make):
    parts = make(failures=1)
    parts.sts.failure = Denied(Reason.STS_UNAVAILABLE)
    await parts.ask()
    parts.sts.failure = None
    parts.clock.now = START + 10
    parts.sts.gate.clear()
    leaving = asyncio.ensure_future(parts.ask())
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    parts.sts.gate.set()
    assert (await parts.ask()).access_key_id == "ASIA"
