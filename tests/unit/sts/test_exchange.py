"""The limits of an exchange: deadline, queue, breaker."""

import asyncio
import itertools
import threading

import pytest

from extproc.errors import Denied, Reason
from extproc.sts.breaker import CircuitBreaker, State
from extproc.sts.exchange import StsExchange
from extproc.sts.guarded import CallLimits, Refusal
from extproc.telemetry.state import EXCHANGE_REFUSALS
from extproc.values import Credentials
from support.credentials import START, FakeClock, grant, opened


class FakeSts:
    """Blocks as the real one does; ``gate`` closed means that STS hangs."""

    def __init__(self):
        self.calls = 0
        self.subjects = []
        self.failure = None
        self.gate = threading.Event()
        self.gate.set()

    def assume(self, token, _grant, _until):
        self.calls += 1
        self.subjects.append(token)
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
        self.refusals = []
        self.users = itertools.count()
        self.exchange = StsExchange(
            sts=self.sts,
            breaker=self.breaker,
            limits=CallLimits(deadline=deadline, workers=workers, max_waiting=max_waiting),
            on_refusal=self.refusals.append,
            on_outcome=lambda outcome, code, seconds: self.outcomes.append((outcome, code, seconds >= 0)),
        )

    async def ask(self, subject=None, granted=None, **whose):
        subject = f"user{next(self.users)}" if subject is None else subject
        owner = opened(subject, subject=subject, **whose).owner
        try:
            return await self.exchange.exchange(owner, subject, granted or grant())
        except Denied as denied:
            return denied.reason

    async def idle(self):
        while self.exchange.waiting:  # noqa: ASYNC110 - until the threads are free
            await asyncio.sleep(0.001)


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
    assert await parts.ask() is Reason.STS_BUSY
    assert parts.refusals == ["queue_full"]
    assert parts.sts.calls == 2
    parts.sts.gate.set()
    await parts.idle()
    assert (await parts.ask()).access_key_id == "ASIA"


async def test_what_waits_in_the_queue_past_its_deadline_is_never_asked(make):
    parts = make(deadline=0.05, workers=1, max_waiting=4, failures=2)
    parts.sts.gate.clear()
    await asyncio.gather(*(parts.ask() for _ in range(4)))
    parts.sts.gate.set()
    await parts.idle()
    assert parts.sts.calls == 1
    assert parts.refusals == ["waited_too_long"] * 3
    assert parts.breaker.state is State.CLOSED  # what STS was not asked says nothing of it


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
    await parts.idle()
    assert parts.breaker.state is State.CLOSED
    assert (await parts.ask()).access_key_id == "ASIA"


async def test_one_user_has_only_so_many_exchanges_and_a_newcomer_comes_before_the_next_of_them(make):
    parts = make(workers=1, max_waiting=100, deadline=5)
    parts.sts.gate.clear()
    greedy = [asyncio.ensure_future(parts.ask("greedy")) for _ in range(10)]
    await asyncio.sleep(0)
    newcomer = asyncio.ensure_future(parts.ask("newcomer"))
    await asyncio.sleep(0)
    parts.sts.gate.set()
    outcomes = await asyncio.gather(*greedy)
    assert outcomes.count(Reason.USER_BUSY) == 6
    assert parts.refusals == ["one_user"] * 6
    assert (await newcomer).access_key_id == "ASIA"
    assert parts.sts.subjects[:2] == ["greedy", "newcomer"]


async def test_the_same_subject_of_another_issuer_is_another_user(make):
    parts = make(workers=1, max_waiting=100, deadline=5)
    parts.sts.gate.clear()
    mine = [asyncio.ensure_future(parts.ask("alice")) for _ in range(4)]
    others = [asyncio.ensure_future(parts.ask("alice", issuer="https://other.example")) for _ in range(4)]
    await asyncio.sleep(0)
    assert await parts.ask("alice") is Reason.USER_BUSY
    parts.sts.gate.set()
    assert {each.access_key_id for each in await asyncio.gather(*mine, *others)} == {"ASIA"}


async def test_sessions_for_many_roles_of_one_user_count_as_one_users(make):
    parts = make(workers=1, max_waiting=100, deadline=5)
    parts.sts.gate.clear()
    roles = [
        asyncio.ensure_future(parts.ask("alice", grant(role_arn=f"arn:aws:iam::123456789012:role/R{n}")))
        for n in range(6)
    ]
    await asyncio.sleep(0)
    parts.sts.gate.set()
    assert (await asyncio.gather(*roles)).count(Reason.USER_BUSY) == 2


async def test_when_the_breaker_opens_those_in_the_queue_are_refused_at_once(make):
    parts = make(workers=1, max_waiting=100, failures=1, deadline=5)
    parts.sts.failure = Denied(Reason.STS_UNAVAILABLE)
    parts.sts.gate.clear()
    waiting = [asyncio.ensure_future(parts.ask()) for _ in range(5)]
    await asyncio.sleep(0)
    parts.sts.gate.set()
    assert set(await asyncio.gather(*waiting)) == {Reason.STS_UNAVAILABLE}
    assert parts.sts.calls == 1
    assert parts.refusals == ["breaker_open"] * 4


async def test_one_who_leaves_the_queue_leaves_nothing_behind(make):
    parts = make(workers=1, max_waiting=100, deadline=5)
    parts.sts.gate.clear()
    running = asyncio.ensure_future(parts.ask("alice"))
    await asyncio.sleep(0)
    for _ in range(10):
        leaving = asyncio.ensure_future(parts.ask("bob"))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    parts.sts.gate.set()
    assert (await running).access_key_id == "ASIA"
    assert (await parts.ask("bob")).access_key_id == "ASIA"
    assert parts.sts.subjects == ["alice", "bob"]


async def test_a_bug_of_ours_is_raised_and_frees_the_breakers_probe(make):
    parts = make(failures=1)
    parts.sts.failure = Denied(Reason.STS_UNAVAILABLE)
    await parts.ask()
    parts.clock.now = START + 10
    parts.sts.failure = RuntimeError("bug")
    with pytest.raises(RuntimeError):
        await parts.ask()
    parts.sts.failure = None
    assert (await parts.ask()).access_key_id == "ASIA"


def test_the_metrics_know_every_cause_of_a_refusal():
    assert {cause.value for cause in Refusal} == set(EXCHANGE_REFUSALS)
