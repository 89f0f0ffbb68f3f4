"""The table of sessions: by token digest, bounded, and fair to those who have few."""

import gc
import hashlib
import sys
import threading
import time
from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from extproc.sessions.session import MAX_GRANTS, Granted, LiveCredentials, token_digest
from extproc.sessions.table import FAIR_SHARE, SessionTable
from extproc.values import Credentials
from support.credentials import START, FakeClock, grant, session

SIZE = 16


class Parts:
    def __init__(self, size=SIZE):
        self.clock = FakeClock()
        self.table = SessionTable(max_entries=size, clock=self.clock)

    def open(self, token, *, subject="alice", lives=1000.0):
        wanted = session(token, subject=subject, expires_at=self.clock.now + lives)
        return self.table.open(wanted.digest, wanted.identity, token)

    def lookup(self, token):
        return self.table.lookup(token_digest(token))

    def keep(self, kept, *, lives=900.0, **granted):
        """Give a session credentials under a grant."""
        now = self.clock.now
        credentials = Credentials("ASIA", "s", "t", now + lives)
        live = LiveCredentials(credentials, now, now, min(now + lives, kept.identity.expires_at))
        slot = kept.granted(grant(**granted))
        return self.table.keep(kept, slot, live), slot


def test_the_users_other_sessions_keep_nothing_of_one_that_has_ended():
    parts = Parts()
    first, second = parts.open("a.b.c"), parts.open("d.e.f")
    parts.table.end(first)
    held = sys.getrefcount(first)
    assert held == 2, gc.get_referrers(first)  # the name, and the argument
    assert parts.lookup("d.e.f") is second


def test_the_digest_is_the_sha_256_of_the_whole_token():
    assert token_digest("a.b.c") == hashlib.sha256(b"a.b.c").digest()


def test_a_session_is_returned_until_its_token_ends():
    parts = Parts()
    kept = parts.open("a.b.c", lives=100)
    parts.clock.now = START + 99.9
    assert parts.lookup("a.b.c") is kept
    parts.clock.now = START + 100
    assert parts.lookup("a.b.c") is None
    assert kept.ended
    assert len(parts.table) == 0


def test_a_token_that_was_taken_within_the_leeway_is_verified_each_time_and_has_no_credentials():
    parts = Parts()
    kept = parts.open("a.b.c", lives=-10)
    assert parts.lookup("a.b.c") is None
    assert parts.keep(kept)[0] is False
    assert parts.open("a.b.c") is kept  # with what STS refused it for
    assert parts.open("d.e.f", lives=5) is parts.lookup("d.e.f")
    parts.clock.now = START + 5
    assert parts.lookup("d.e.f") is None
    parts.clock.now = START + 1000
    parts.table.expire()
    assert len(parts.table) == 0


def test_a_session_is_whole_before_another_thread_can_see_it():
    parts, found = Parts(), []

    class Watched(OrderedDict):
        def __setitem__(self, digest, kept):
            super().__setitem__(digest, kept)
            # As a lookup in another thread, which takes no lock for what lives.
            found.append(parts.clock.now < kept.ends_at)

    parts.table._sessions = Watched()
    parts.open("a.b.c")
    assert found == [True]


def test_credentials_may_end_in_one_thread_while_the_event_loop_adds_grants():
    parts = Parts(1000)
    kept, errors, over = parts.open("a.b.c"), [], threading.Event()
    slots = [parts.keep(kept, session_name=str(number))[1] for number in range(MAX_GRANTS - 1)]

    def end():
        try:
            while not over.is_set():
                for slot in slots:
                    parts.table.end_credentials(kept, slot)
                    kept.living()
        except RuntimeError as error:
            errors.append(error)

    before, thread = sys.getswitchinterval(), threading.Thread(target=end)
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        until = time.monotonic() + 0.5
        while time.monotonic() < until and not errors:
            kept.granted(grant(session_name=f"more {time.monotonic()}"))
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(before)
    assert not errors


def test_grants_without_credentials_are_bounded_too():
    parts = Parts(1000)
    kept = parts.open("a.b.c")
    _, slot = parts.keep(kept, session_name="kept")
    evicted = kept.granted(grant(session_name="0"))
    for number in range(1000):
        kept.granted(grant(session_name=str(number)))
    assert len(kept.grants) <= MAX_GRANTS + 1
    assert kept.find(slot.grant) is slot
    assert evicted.ends == 1  # so that an exchange of before a revocation brings nothing back


def test_a_decision_of_before_an_eviction_means_what_the_session_has_now():
    parts = Parts(1000)
    kept = parts.open("a.b.c")
    slots = [parts.keep(kept, session_name=str(number))[1] for number in range(MAX_GRANTS + 2)]
    first, second = slots[:2]
    assert kept.granted(first.grant, first) is first
    other = kept.granted(second.grant)
    assert other is not second
    assert kept.granted(second.grant, second) is other


def test_many_exchanges_of_one_session_do_not_make_the_plan_of_ends_grow():
    parts = Parts()
    kept = parts.open("a.b.c")
    for number in range(20 * SIZE):
        parts.keep(kept, lives=900 + number / 100)
    assert len(parts.table._ends) <= 2 * SIZE + 1
    parts.clock.now = START + 1000
    parts.table.expire()
    assert (len(parts.table), parts.table.credentials) == (0, 0)


def test_a_token_that_is_verified_again_goes_on_with_its_credentials():
    parts = Parts()
    kept = parts.open("a.b.c")
    _, slot = parts.keep(kept)
    assert parts.open("a.b.c") is kept
    assert slot.live is not None
    assert (len(parts.table), parts.table.credentials) == (1, 1)


def test_the_least_recently_used_session_makes_room():
    parts = Parts(2)
    first, second = parts.open("t.o.1"), parts.open("t.o.2")
    parts.clock.now += 1
    parts.lookup("t.o.1")
    parts.open("t.o.3")
    assert parts.lookup("t.o.2") is None
    assert second.ended
    assert parts.lookup("t.o.1") is first
    assert parts.table.evictions == 1


def test_to_peek_is_no_use():
    parts = Parts(2)
    parts.open("t.o.1")
    parts.open("t.o.2")
    parts.clock.now += 1
    assert parts.table.peek(token_digest("t.o.1")) is not None
    parts.open("t.o.3")
    assert parts.lookup("t.o.1") is None


def test_a_session_ends_with_all_that_it_holds():
    parts = Parts()
    kept = parts.open("a.b.1")
    slots = [parts.keep(kept, session_name=name)[1] for name in "abc"]
    other = parts.open("a.b.2", subject="bob")
    _, others = parts.keep(other)
    assert parts.table.credentials == 4
    assert parts.table.end_where(lambda each: each.identity.subject == "alice") == [kept]
    assert [slot.live for slot in slots] == [None] * 3
    assert others.live is not None
    assert (len(parts.table), parts.table.credentials) == (1, 1)
    parts.table.end(kept)  # once more
    assert len(parts.table) == 1


def test_nothing_is_kept_for_a_session_that_has_ended():
    parts = Parts()
    kept = parts.open("a.b.c")
    parts.table.end(kept)
    taken, slot = parts.keep(kept)
    assert not taken
    assert slot.live is None
    assert parts.table.credentials == 0


def test_a_session_with_several_credentials_takes_as_many_entries():
    parts = Parts()
    idle = parts.open("i.d.l", subject="idle")
    others = [parts.open(f"o.{number}.x", subject=f"other{number}") for number in range(SIZE - 3)]
    greedy = parts.open("g.r.e", subject="greedy")
    for name in "ab":
        assert parts.keep(greedy, session_name=name)[0]
    assert parts.table._entries == SIZE
    parts.keep(greedy, session_name="c")  # more than its share: it is not for others to make room
    assert greedy.ended
    assert not any(each.ended for each in (idle, *others))
    assert parts.table.evicted_credentials == 3
    assert (parts.table.credentials, parts.table._entries) == (0, SIZE - 2)


def test_the_grants_of_a_session_are_bounded():
    parts = Parts(1000)
    kept = parts.open("a.b.c")
    slots = [parts.keep(kept, session_name=str(number))[1] for number in range(MAX_GRANTS + 5)]
    assert [slot.live is None for slot in slots] == [True] * 5 + [False] * MAX_GRANTS
    assert parts.table.evicted_credentials == 5
    # One that a decision still refers to comes back when it is exchanged again.
    assert parts.keep(kept, session_name="0")[0]
    assert parts.table.credentials == MAX_GRANTS


def test_credentials_end_by_themselves_with_or_before_their_session():
    parts = Parts()
    kept = parts.open("a.b.c", lives=1000)
    _, short = parts.keep(kept, session_name="short", lives=100)
    _, long = parts.keep(kept, session_name="long", lives=2000)
    parts.clock.now = START + 100
    parts.table.expire()
    assert short.live is None
    assert long.live is not None
    parts.clock.now = START + 1000
    parts.table.expire()
    assert long.live is None
    assert (len(parts.table), parts.table.credentials, parts.table._ends) == (0, 0, [])


def test_a_second_grant_object_for_an_equal_grant_keeps_nothing():
    parts = Parts()
    kept = parts.open("a.b.c")
    _, slot = parts.keep(kept)
    now = parts.clock.now
    live = LiveCredentials(Credentials("ASIA", "s", "t", now + 900), now, now, now + 900)
    assert not parts.table.keep(kept, Granted(slot.grant), live)
    assert parts.table.credentials == 1


def test_a_session_whose_end_was_put_off_outlives_the_end_planned_before():
    parts = Parts()
    kept = parts.open("a.b.c", lives=-10)  # within the leeway: it is kept for 30 s
    parts.clock.now = START + 10
    assert parts.open("a.b.c", lives=-20) is kept
    parts.clock.now = START + 30
    parts.table.expire()
    assert not kept.ended
    parts.clock.now = START + 40
    parts.table.expire()
    assert kept.ended


def test_a_session_that_another_thread_ended_a_moment_ago_is_not_moved():
    parts = Parts()
    kept = parts.open("a.b.c")
    parts.table.end(kept)
    parts.table._touch(kept, START + 5)
    assert len(parts.table) == 0


def test_a_token_of_another_user_under_the_same_digest_takes_nothing_over():
    parts = Parts()
    kept = parts.open("a.b.c")
    _, slot = parts.keep(kept)
    other = parts.open("a.b.c", subject="bob")
    assert other is not kept
    assert kept.ended
    assert slot.live is None
    assert (len(parts.table), parts.table.credentials) == (1, 0)


def test_only_those_very_credentials_are_ended_if_asked_so():
    parts = Parts()
    kept = parts.open("a.b.c")
    _, slot = parts.keep(kept)
    first = slot.live
    parts.keep(kept)
    assert not parts.table.end_credentials(kept, slot, only=first)
    assert parts.table.end_credentials(kept, slot, only=slot.live)
    assert not parts.table.end_credentials(kept, slot)


def test_one_user_with_ever_new_tokens_evicts_only_its_own():
    parts = Parts()
    few = [parts.open(f"few.{name}.x", subject=name) for name in "abcdefgh"]
    for number in range(1000):
        parts.open(f"flood.{number}.x", subject="flood")
    assert not any(kept.ended for kept in few)
    assert len(parts.table) == SIZE
    assert parts.table.evictions == 992


def test_a_newcomer_gets_room_from_whoever_used_it_least_recently():
    parts = Parts()
    flood = [parts.open(f"flood.{number}.x", subject="flood") for number in range(SIZE)]
    assert not parts.open("n.e.w", subject="newcomer").ended
    assert flood[0].ended


def test_what_has_ended_makes_room_before_anything_that_lives():
    parts = Parts()
    for number in range(SIZE):
        parts.open(f"t.{number}.x", lives=100 if number == 5 else 1000)
    parts.clock.now += 101
    parts.open("m.o.re")
    assert parts.table.evictions == 0
    assert len(parts.table) == SIZE


def test_nothing_is_planned_or_kept_of_users_long_gone():
    parts = Parts()
    for number in range(5000):
        parts.clock.now += 1
        parts.keep(parts.open(f"t.{number}.x", subject=f"user{number}", lives=100_000))
    assert len(parts.table._owners) == len(parts.table) == SIZE
    assert len(parts.table._ends) <= 2 * SIZE + 1


tokens, users, names = st.integers(0, 40), st.sampled_from("abc"), st.sampled_from("xyz")
steps = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "keep", "lookup", "end", "end credentials", "pass", "expire"]),
        tokens,
        users,
        names,
    ),
    max_size=150,
)


@given(steps)
def test_whatever_happens_its_counts_are_right_and_no_small_user_loses_to_a_large_one(program):
    parts, model = Parts(), {}
    table = parts.table
    for step, number, user, name in program:
        token = f"{user}.{number}.x"
        kept = table.peek(token_digest(token))
        if step == "open":
            held = {each: each.owner for each in table.values()}
            mine = sum(each.entries for each in held if each.identity.subject == user)
            full = table._entries >= SIZE
            model[token] = parts.open(token, subject=user, lives=5)
            lost = [owner for each, owner in held.items() if each.ended and each.ends_at > parts.clock.now]
            if lost and full and mine > SIZE * FAIR_SHARE:
                assert {owner.subject for owner in lost} == {user}
        elif step == "lookup":
            found = parts.lookup(token)
            assert found is None or (found is model[token] and found.identity.subject == user)
        elif step == "keep" and kept is not None:
            parts.keep(kept, session_name=name, lives=3)
        elif step == "end" and kept is not None:
            table.end(kept)
        elif step == "end credentials" and kept is not None:
            table.end_credentials(kept, kept.granted(grant(session_name=name)))
        elif step == "pass":
            parts.clock.now += 1
        elif step == "expire":
            table.expire()
        held = table.values()
        living = {each: len(each.living()) for each in held}
        assert table.credentials == sum(living.values())
        assert table._entries == sum(max(1, count) for count in living.values()) <= SIZE
        assert [each.entries for each in held] == [max(1, living[each]) for each in held]
        assert sum(siblings.entries for siblings in table._owners.values()) == table._entries
        assert sum(map(len, table._owners.values())) == len(held)
        assert not any(each.ended for each in held)
        assert not any(each.living() for each in model.values() if each.ended)
