"""Sessions by token digest: one exchange for all who wait, nothing past its end, never too many."""

import asyncio
import hashlib
from types import MappingProxyType

import pytest

from extproc.credentials.cache import SessionCache, token_digest
from extproc.errors import Denied, Reason
from extproc.values import Credentials, Grant, Identity, Session

START = 1_800_000_000.0


class FakeClock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


def session(*, ends_at=START + 900, subject="alice"):
    return Session(
        identity=Identity("https://idp.example.com/", subject, ends_at, MappingProxyType({}), b"k"),
        grant=Grant("arn:aws:iam::123456789012:role/R", subject, 900, None),
        credentials=Credentials("ASIAEXAMPLE", "secret", "token", ends_at),
        ends_at=ends_at,
    )


class Opener:
    """Counts its calls; each waits for ``release`` and then gives ``result``."""

    def __init__(self, result=None):
        self.result = result if result is not None else session()
        self.calls = 0
        self.release = asyncio.Event()

    async def __call__(self):
        self.calls += 1
        await self.release.wait()
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def cache(clock):
    return SessionCache(max_sessions=3, clock=clock)


DIGEST = token_digest("header.payload.signature")


async def opened(cache, digest, result):
    opener = Opener(result)
    opener.release.set()
    return await asyncio.shield(cache.open(digest, opener))


async def test_a_session_is_kept_and_returned_without_opening_it_again(cache):
    assert cache.get(DIGEST) is None
    kept = await opened(cache, DIGEST, session())
    assert cache.get(DIGEST) is kept


async def test_a_thousand_concurrent_opens_make_one_exchange(cache):
    opener = Opener()
    tasks = [cache.open(DIGEST, opener) for _ in range(1000)]
    waiting = [asyncio.ensure_future(asyncio.shield(task)) for task in tasks]
    await asyncio.sleep(0)
    opener.release.set()
    sessions = await asyncio.gather(*waiting)
    assert opener.calls == 1
    assert all(entry is sessions[0] for entry in sessions)


async def test_different_tokens_are_opened_each_for_itself(cache):
    openers = {name: Opener(session(subject=name)) for name in ("alice", "bob")}
    for opener in openers.values():
        opener.release.set()
    for name, opener in openers.items():
        assert (await asyncio.shield(cache.open(token_digest(name), opener))).identity.subject == name
    assert cache.get(token_digest("alice")).identity.subject == "alice"
    assert cache.get(token_digest("bob")).identity.subject == "bob"


async def test_a_failure_reaches_all_who_wait_and_is_not_kept(cache):
    opener = Opener(Denied(Reason.STS_UNAVAILABLE))
    waiting = [asyncio.ensure_future(asyncio.shield(cache.open(DIGEST, opener))) for _ in range(10)]
    await asyncio.sleep(0)
    opener.release.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert opener.calls == 1
    assert [result.reason for result in results] == [Reason.STS_UNAVAILABLE] * 10
    assert cache.get(DIGEST) is None
    assert (await opened(cache, DIGEST, session())) is cache.get(DIGEST)


async def test_one_who_sees_a_failure_can_try_again_at_once(cache):
    with pytest.raises(Denied):
        await opened(cache, DIGEST, Denied(Reason.STS_THROTTLED))
    retry = Opener()
    cache.open(DIGEST, retry)
    await asyncio.sleep(0)
    assert retry.calls == 1


async def test_the_first_one_leaving_does_not_take_the_session_from_the_others(cache):
    opener = Opener()
    leader = asyncio.ensure_future(asyncio.shield(cache.open(DIGEST, opener)))
    follower = asyncio.ensure_future(asyncio.shield(cache.open(DIGEST, opener)))
    await asyncio.sleep(0)
    leader.cancel()
    await asyncio.sleep(0)
    opener.release.set()
    assert (await follower) is cache.get(DIGEST)
    assert leader.cancelled()
    assert opener.calls == 1


async def test_a_session_is_kept_even_if_everyone_who_waited_has_left(cache):
    opener = Opener()
    waiter = asyncio.ensure_future(asyncio.shield(cache.open(DIGEST, opener)))
    await asyncio.sleep(0)
    waiter.cancel()
    opener.release.set()
    await asyncio.sleep(0.01)
    assert cache.get(DIGEST) is opener.result


@pytest.mark.parametrize("steps", [0, 1], ids=["before its first step", "on the way"])
async def test_a_cancelled_exchange_is_not_joined_by_those_who_come_later(cache, steps):
    task = cache.open(DIGEST, Opener())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await opened(cache, DIGEST, session())) is cache.get(DIGEST)


async def test_a_failure_that_nobody_waited_for_makes_no_noise(cache):
    problems = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    opener = Opener(Denied(Reason.STS_UNAVAILABLE))
    opener.release.set()
    cache.open(DIGEST, opener)
    await asyncio.sleep(0.01)
    assert problems == []


@pytest.mark.parametrize(("later", "alive"), [(0, True), (899.9, True), (900, False), (10_000, False)])
async def test_a_session_is_returned_before_its_end_only(cache, clock, later, alive):
    await opened(cache, DIGEST, session(ends_at=START + 900))
    clock.now += later
    assert (cache.get(DIGEST) is not None) is alive


async def test_a_session_that_has_ended_when_it_is_opened_is_not_kept(cache):
    for ends_at in (START, START - 1):
        await opened(cache, DIGEST, session(ends_at=ends_at))
        assert cache.get(DIGEST) is None
    assert len(cache) == 0


async def test_a_session_that_has_ended_is_opened_anew(cache, clock):
    await opened(cache, DIGEST, session())
    clock.now += 1000
    renewed = await opened(cache, DIGEST, session(ends_at=clock.now + 900))
    assert cache.get(DIGEST) is renewed


async def test_the_least_recently_used_session_makes_room(cache):
    digests = [token_digest(name) for name in "abcd"]
    for digest in digests[:3]:
        await opened(cache, digest, session())
    assert cache.get(digests[0])
    await opened(cache, digests[3], session())
    assert len(cache) == 3
    assert [cache.get(digest) is not None for digest in digests] == [True, False, True, True]


async def test_a_dropped_session_is_gone_and_dropping_twice_is_fine(cache):
    await opened(cache, DIGEST, session())
    cache.drop(DIGEST)
    cache.drop(DIGEST)
    assert cache.get(DIGEST) is None


def test_the_digest_is_the_sha_256_of_the_whole_token():
    assert token_digest("abc") == hashlib.sha256(b"abc").digest()
    tokens = ["a.b.c", "a.b.d", "a.b", "a.bc", "ab.c", "A.b.c", "a.b.c.", "a.b.c" + "d" * 10_000]
    assert len({token_digest(token) for token in tokens}) == len(tokens)
