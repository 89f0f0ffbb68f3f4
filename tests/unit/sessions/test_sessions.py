"""Sessions by token digest."""

import hashlib

from extproc.sessions.sessions import SessionCache, token_digest
from support.credentials import START, FakeClock, session


def test_the_digest_is_the_sha_256_of_the_whole_token():
    assert token_digest("a.b.c") == hashlib.sha256(b"a.b.c").digest()


def test_a_session_is_returned_until_its_token_ends():
    clock = FakeClock()
    cache = SessionCache(max_sessions=3, clock=clock)
    kept = session(expires_at=START + 10)
    cache.put(kept)
    clock.now = START + 9.9
    assert cache.get(kept.digest) is kept
    clock.now = START + 10
    assert cache.get(kept.digest) is None


def test_the_least_recently_used_session_makes_room():
    cache = SessionCache(max_sessions=2, clock=FakeClock())
    first, second, third = (session(f"t.o.{n}") for n in range(3))
    cache.put(first)
    cache.put(second)
    cache.get(first.digest)
    cache.put(third)
    assert cache.get(second.digest) is None
    assert cache.get(first.digest) is first
    assert len(cache) == 2


def test_dropping_is_by_digest_or_by_what_is_true_of_sessions():
    cache = SessionCache(max_sessions=9, clock=FakeClock())
    mine, theirs = session("a.b.1"), session("a.b.2", subject="bob")
    cache.put(mine)
    cache.put(theirs)
    assert cache.drop_where(lambda kept: kept.identity.subject == "bob") == [theirs]
    cache.drop(mine.digest)
    cache.drop(mine.digest)
    assert len(cache) == 0


def test_there_are_never_more_sessions_than_the_limit():
    cache = SessionCache(max_sessions=3, clock=FakeClock())
    for number in range(50):
        cache.put(session(f"t.o.{number}", subject=f"user{number}"))
        assert len(cache) == len(cache.values()) <= 3
    assert cache.evictions == 47
