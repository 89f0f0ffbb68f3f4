"""Credentials by session and grant: one exchange for all who wait, renewed before they end, shared by nobody."""

import asyncio
import threading

import pytest

from extproc.errors import Denied, Reason
from extproc.sessions import credentials
from extproc.sessions.session import Authorized
from extproc.sessions.sharing import Obtained
from extproc.values import ChainedRole, Credentials
from support.credentials import HOUR, START, Store, grant, session
from support.tables import each_case


class Parts(Store):
    @property
    def calls(self):
        return len(self.exchange.calls)

    def begin(self, wanted):
        return asyncio.ensure_future(self.obtain(wanted))

    def authorized(self, wanted):
        """As a request holds what it is signed with."""
        kept, granted = self.open(wanted)
        return Authorized(kept, granted, granted.live)

    async def tick(self, to):
        self.clock.now = to
        self.table.expire()
        self.store.renew_due()
        while self.store._plan.under_way:  # noqa: ASYNC110 - each turn lets the exchanges go on
            await asyncio.sleep(0)


async def test_1000_concurrent_first_requests_of_a_session_are_one_exchange():
    parts = Parts()
    futures = [parts.begin(session()) for _ in range(1000)]
    credentials = await asyncio.gather(*futures)
    assert parts.calls == 1
    assert len({id(entry) for entry in credentials}) == 1


async def test_whoever_asks_right_after_an_exchange_has_its_credentials():
    parts = Parts()
    assert await parts.obtain() is await parts.obtain()
    assert parts.calls == 1


async def test_100_users_with_20_requests_each_are_100_exchanges():
    parts = Parts()
    users = [session(f"token.of.{n}", subject=f"user{n}") for n in range(100)]
    futures = [parts.begin(user) for _ in range(20) for user in users]
    credentials = await asyncio.gather(*futures)
    assert parts.calls == 100
    for position, user in enumerate(users):
        assert {entry.access_key_id for entry in credentials[position::100]} == {
            parts.get(user).access_key_id
        }


@each_case(
    "other",
    [
        session("a.b.d"),
        session(granted=grant(role_arn="arn:aws:iam::123456789012:role/Admin")),
        session(granted=grant(session_name="bob")),
        session(granted=grant(duration=900)),
        session(granted=grant(mapping="other")),
        session(granted=grant(policy="{}")),
        session(granted=grant(policy_arns=("arn:aws:iam::aws:policy/ReadOnlyAccess",))),
        session(granted=grant(chain=ChainedRole("arn:aws:iam::210987654321:role/X"))),
        session(granted=grant(chain=ChainedRole("arn:aws:iam::210987654321:role/X", "external"))),
    ],
)
async def test_nothing_is_shared_when_the_token_or_any_part_of_the_grant_differs(other):
    parts = Parts()
    mine = await parts.obtain(session(granted=grant()))
    assert parts.get(other) is None
    theirs = await parts.obtain(other)
    assert theirs.access_key_id != mine.access_key_id
    assert parts.get(session(granted=grant())) is mine


async def test_credentials_are_not_used_within_the_margin_of_their_end():
    parts = Parts()
    await parts.obtain()
    parts.clock.now = START + HOUR - 60.1
    assert parts.get(session()) is not None
    parts.clock.now = START + HOUR - 60
    assert parts.get(session()) is None


async def test_credentials_end_with_their_token_although_aws_would_take_them_longer():
    parts = Parts()
    short = session(expires_at=START + 300)
    await parts.obtain(short)
    parts.clock.now = START + 299
    assert parts.get(short) is not None
    parts.clock.now = START + 300
    assert parts.get(short) is None


async def test_a_cancelled_request_does_not_cancel_the_exchange_of_others():
    parts = Parts()
    parts.exchange.gate.clear()
    first, second = (parts.begin(session()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    parts.exchange.gate.set()
    assert (await second).access_key_id == "ASIA1"
    assert parts.calls == 1


async def test_followers_get_the_leaders_error_and_a_passing_one_is_not_remembered():
    parts = Parts()
    parts.exchange.failure = Denied(Reason.STS_UNAVAILABLE)
    futures = [parts.begin(session()) for _ in range(10)]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert {outcome.reason for outcome in outcomes} == {Reason.STS_UNAVAILABLE}
    assert parts.calls == 1
    parts.exchange.failure = None
    assert await parts.obtain()


@pytest.mark.parametrize(
    "reason", [Reason.STS_ACCESS_DENIED, Reason.STS_TOKEN_REFUSED, Reason.STS_TOKEN_EXPIRED]
)
async def test_a_definite_refusal_is_remembered_for_a_while_and_for_this_key_only(reason):
    parts = Parts()
    parts.exchange.failure = Denied(reason, "STS answered 403 AccessDenied")
    with pytest.raises(Denied):
        await parts.obtain()
    for _ in range(100):
        with pytest.raises(Denied) as denied:
            await parts.obtain()
        assert denied.value.reason is reason
    assert parts.calls == 1
    parts.exchange.failure = None
    assert await parts.obtain(session("another.users.token"))
    parts.clock.now = START + 30
    assert await parts.obtain()


@pytest.mark.parametrize(
    "reason", [Reason.STS_ACCESS_DENIED, Reason.STS_TOKEN_REFUSED, Reason.STS_MISCONFIGURED]
)
async def test_whatever_sts_calls_it_a_token_that_ended_within_our_leeway_has_expired(reason):
    parts = Parts()
    parts.exchange.failure = Denied(reason, "STS answered 403 AccessDenied", code="AccessDenied")
    for detail in ("STS answered 403 AccessDenied; the token has expired", None):
        with pytest.raises(Denied) as denied:
            await parts.obtain(session(expires_at=START))
        assert denied.value.reason is Reason.STS_TOKEN_EXPIRED
        assert denied.value.detail == detail or "(remembered)" in denied.value.detail
    assert parts.calls == 1
    with pytest.raises(Denied) as denied:
        await parts.obtain(session("x.y.z", expires_at=START + 1))
    assert denied.value.reason is reason


async def test_a_remembered_refusal_keeps_nothing_of_the_requests_that_it_was_for():
    parts = Parts()
    parts.exchange.failure = Denied(Reason.STS_ACCESS_DENIED)
    await asyncio.gather(*(parts.begin(session()) for _ in range(3)), return_exceptions=True)
    _, granted = parts.open(session())
    remembered, _ = granted.refusal
    assert (remembered.__traceback__, remembered.__context__) == (None, None)


async def test_an_sts_that_is_away_says_nothing_about_an_expired_token():
    parts = Parts()
    parts.exchange.failure = Denied(Reason.STS_UNAVAILABLE)
    with pytest.raises(Denied) as denied:
        await parts.obtain(session(expires_at=START))
    assert denied.value.reason is Reason.STS_UNAVAILABLE


async def test_remembered_refusals_are_bounded():
    parts = Parts(max_entries=10)
    parts.exchange.failure = Denied(Reason.STS_ACCESS_DENIED)
    for n in range(50):
        with pytest.raises(Denied):
            await parts.obtain(session(f"t.o.{n}"))
    assert len(parts.table) == 10


async def test_a_session_in_use_is_renewed_at_80_percent_without_anybody_waiting():
    parts = Parts()
    old = await parts.obtain()
    await parts.tick(START + 0.79 * HOUR)
    assert parts.calls == 1
    parts.get(session())
    parts.clock.now = START + 0.8 * HOUR
    parts.exchange.gate.clear()
    started = parts.store.renew_due()
    assert len(started) == 1
    await asyncio.sleep(0)
    assert parts.get(session()) is old  # while the renewal hangs
    parts.exchange.gate.set()
    await asyncio.gather(*started)
    assert parts.get(session()).access_key_id == "ASIA2"


@pytest.mark.parametrize(("share", "begins"), [(0.0, 0.75), (1.0, 0.85)])
async def test_renewals_are_spread_so_that_sessions_do_not_move_in_step(share, begins):
    parts = Parts(share=share)
    await parts.obtain()
    await parts.tick(START + (begins - 0.001) * HOUR)
    assert parts.calls == 1
    parts.get(session())
    await parts.tick(START + begins * HOUR)
    assert parts.calls == 2


async def test_an_unused_session_is_not_renewed():
    parts = Parts()
    await parts.obtain()
    for step in range(80, 100):
        await parts.tick(START + step / 100 * HOUR)
    assert parts.calls == 1
    assert parts.table.credentials == 0


async def test_a_session_used_again_after_its_time_had_come_is_still_renewed_before_its_end():
    parts = Parts()
    await parts.obtain()
    await parts.tick(START + 0.8 * HOUR)
    assert parts.calls == 1
    parts.clock.now = START + 0.85 * HOUR
    parts.get(session())
    await parts.tick(START + 0.9 * HOUR)
    assert parts.calls == 2


async def test_nothing_is_renewed_that_the_token_will_not_outlive():
    parts = Parts()
    ending = session(expires_at=START + HOUR)
    await parts.obtain(ending)
    for step in range(80, 100):
        parts.get(ending)
        await parts.tick(START + step / 100 * HOUR)
    assert parts.calls == 1


async def test_a_renewal_that_fails_is_tried_again_while_the_old_credentials_serve():
    parts = Parts()
    old = await parts.obtain()
    parts.get(session())
    parts.exchange.failure = Denied(Reason.STS_UNAVAILABLE)
    parts.clock.now = START + 0.7 * HOUR
    parts.get(session())
    await parts.tick(START + 0.8 * HOUR)
    assert parts.get(session()) is old
    await parts.tick(START + 0.81 * HOUR)
    assert parts.calls == 2
    parts.exchange.failure = None
    await parts.tick(START + 0.85 * HOUR)
    assert parts.get(session()).access_key_id == "ASIA2"


async def test_the_least_recently_used_credentials_make_room():
    parts = Parts(max_entries=2)
    first, second, third = (session(f"t.o.{n}") for n in range(3))
    await parts.obtain(first)
    await parts.obtain(second)
    parts.clock.now += 1  # the order of use is no finer
    parts.get(first)
    await parts.obtain(third)
    assert parts.get(second) is None
    assert parts.get(first)
    assert parts.table.credentials == 2


async def test_the_plan_of_renewals_does_not_grow_with_users_long_gone():
    parts = Parts(max_entries=10)
    for n in range(500):
        await parts.obtain(session(f"t.o.{n}"))
    assert parts.table.credentials == 10
    assert len(parts.store._plan._due) <= 2 * 10 + 1


async def test_what_has_ended_is_swept_out_of_memory():
    parts = Parts()
    for n in range(20):
        await parts.obtain(session(f"t.o.{n}", expires_at=START + 100))
    await parts.tick(START + 101)
    assert parts.table.credentials == 0
    assert parts.store._plan._due == []


async def test_by_default_a_refreshed_token_is_exchanged_anew():
    parts = Parts()
    await parts.obtain(session("first.token.x"))
    await parts.obtain(session("second.token.x"))
    assert parts.calls == 2


async def test_credentials_can_be_taken_over_by_a_refreshed_token_of_the_same_identity():
    parts = Parts(reuse_by_identity=True)
    first = await parts.obtain(session("first.token.x", claims={"jti": "1", "groups": ["a"]}))
    second = await parts.obtain(session("second.token.x", claims={"jti": "2", "groups": ["a"]}))
    assert second is first
    assert parts.calls == 1


@each_case("claim", ["iat", "nbf", "jti", "auth_time", "nonce", "at_hash", "c_hash", "s_hash"])
async def test_a_claim_that_every_token_has_anew_makes_no_other_identity(claim):
    parts = Parts(reuse_by_identity=True)
    first = await parts.obtain(session("first.token.x", claims={claim: "1"}))
    assert await parts.obtain(session("second.token.x", claims={claim: "2"})) is first
    assert await parts.obtain(session("third.token.x")) is first


@each_case(
    "claims",
    [
        {"groups": ["b"]},
        {"groups": ["a"], "azp": "agent"},
        {"groups": ["a"], "aud": ["x", "y"]},
        {"groups": ["a"], "amr": ["pwd"]},
        {"groups": ["a"], "https://aws.amazon.com/tags": {"principal_tags": {"team": ["x"]}}},
        {"groups": ["a"], "https://aws.amazon.com/source_identity": "someone"},
        {"groups": ["a"], "sub": "bob"},
    ],
)
async def test_a_token_that_differs_in_any_lasting_claim_takes_nothing_over(claims):
    parts = Parts(reuse_by_identity=True)
    await parts.obtain(session("first.token.x", claims={"groups": ["a"]}))
    await parts.obtain(session("second.token.x", claims=claims))
    assert parts.calls == 2


async def test_taken_over_credentials_end_with_the_new_token():
    parts = Parts(reuse_by_identity=True)
    await parts.obtain(session("first.token.x", expires_at=START + 8 * HOUR))
    taker = session("second.token.x", expires_at=START + 600)
    await parts.obtain(taker)
    parts.clock.now = START + 600
    assert parts.get(taker) is None


async def test_credentials_that_are_not_used_any_more_are_not_taken_over():
    parts = Parts(reuse_by_identity=True)
    first = await parts.obtain(session("first.token.x"))
    parts.clock.now = START + HOUR - 60  # AWS would still take them; and nothing has expired them yet
    assert await parts.obtain(session("second.token.x")) is not first
    assert parts.calls == 2


async def test_credentials_that_aws_refused_are_dropped_once_they_are_not_brand_new():
    parts = Parts()
    await parts.obtain()
    refused = parts.authorized(session())
    assert not parts.store.forget_stale(refused)
    parts.clock.now = START + 30
    assert parts.store.forget_stale(refused)
    assert parts.get(session()) is None


async def test_credentials_obtained_meanwhile_are_not_dropped_for_their_predecessors_fault():
    parts = Parts()
    await parts.obtain()
    refused = parts.authorized(session())
    parts.clock.now = START + 30
    assert parts.store.forget_stale(refused)
    newer = await parts.obtain()
    parts.clock.now = START + 90
    assert not parts.store.forget_stale(refused)
    assert parts.get(session()) is newer


@pytest.mark.parametrize("refused", [0, 1])
async def test_credentials_that_aws_refused_are_not_taken_over_from_another_token(refused):
    parts = Parts(reuse_by_identity=True)
    tokens = [session("first.token.x"), session("second.token.x")]
    shared = await parts.obtain(tokens[0])
    assert await parts.obtain(tokens[1]) is shared
    parts.clock.now = START + 60
    assert parts.store.forget_stale(parts.authorized(tokens[refused]))
    # The other token still holds them, whichever was last: none gets them from it again.
    for token in (tokens[refused], session("third.token.x")):
        assert await parts.obtain(token) is not shared


async def test_a_day_of_50_users_with_one_hour_tokens_makes_one_exchange_a_token():
    parts = Parts()
    waited = 0
    for minute in range(0, 24 * 60, 5):
        now = START + minute * 60
        await parts.tick(now)
        for user in range(50):
            # Each user's token is renewed every hour, at the user's own minute.
            generation = (minute + user % 60) // 60
            token = f"user{user}.generation{generation}.x"
            began = START + (generation * 60 - user % 60) * 60
            current = session(token, subject=f"user{user}", expires_at=began + HOUR)
            if parts.get(current) is None:
                waited += 1
                await parts.obtain(current)
    tokens_issued = len({token for token, _ in parts.exchange.calls})
    assert parts.calls == tokens_issued
    # Who waits is a user whose token is new; nobody waits for a renewal.
    assert waited == tokens_issued


async def test_users_with_day_long_tokens_never_wait_after_the_first_request():
    parts = Parts()
    users = [session(f"u.{n}.x", subject=f"u{n}", expires_at=START + 25 * HOUR) for n in range(10)]
    for user in users:
        await parts.obtain(user)
    for minute in range(24 * 60):
        await parts.tick(START + minute * 60)
        for user in users:
            assert parts.get(user) is not None
    assert parts.calls <= 10 * 24 / 0.75 + 10
    assert len(parts.store._plan._due) <= 2 * 10


async def test_a_reader_never_sees_parts_of_two_exchanges():
    parts = Parts(lifetime=2.0, margin=0.0)
    mine = session()
    await parts.obtain(mine)
    stop, torn, reads = threading.Event(), [], []

    def read():
        while not stop.is_set():
            key = parts.get(mine)
            if key is not None:
                serial = key.access_key_id.removeprefix("ASIA")
                reads.append(serial)
                if (key.secret_access_key, key.session_token) != (f"secret{serial}", f"token{serial}"):
                    torn.append(key)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(50):
        parts.get(mine)
        await asyncio.sleep(0.001)  # lets the readers come to it
        await parts.tick(START + step)
        if parts.get(mine) is None:
            await parts.obtain(mine)
    stop.set()
    for thread in threads:
        thread.join()
    assert torn == []
    assert len(set(reads)) > 3


class Gated:
    """An exchange that notes whose turn it is, and lets one through at a time."""

    def __init__(self, clock):
        self._clock = clock
        self.turns = []
        self._waiting = []

    async def exchange(self, owner, _token, _grant):
        self.turns.append(owner.subject)
        gate = asyncio.get_running_loop().create_future()
        self._waiting.append(gate)
        await gate
        return Credentials(f"ASIA{len(self.turns)}", "s", "t", self._clock() + HOUR)

    async def let_through(self):
        self._waiting.pop(0).set_result(None)
        for _ in range(10):
            await asyncio.sleep(0)


async def obtained(parts, opened):
    obtaining = asyncio.ensure_future(parts.obtain(opened))
    while not parts.exchange._waiting:  # noqa: ASYNC110 - each turn lets it begin
        await asyncio.sleep(0)
    while not obtaining.done():
        await parts.exchange.let_through()


def gated():
    parts = Parts()
    parts.exchange = parts.store._exchange = Gated(parts.clock)
    return parts


async def test_renewals_of_one_user_do_not_make_those_of_others_late():
    parts = gated()
    for n in range(20):
        await obtained(parts, session(f"of.greedy.{n}", subject="greedy"))
    for n in range(3):
        await obtained(parts, session(f"of.other.{n}", subject=f"other{n}"))
    parts.clock.now = START + 0.7 * HOUR
    for kept in parts.table.values():
        for granted, _ in kept.living():
            parts.store.living(granted)  # all are in use
    parts.exchange.turns.clear()
    parts.clock.now = START + 0.85 * HOUR
    parts.store.renew_due()
    await asyncio.sleep(0)
    assert parts.exchange.turns == ["greedy", "greedy", "other0", "other1"]
    while parts.exchange._waiting:
        await parts.exchange.let_through()
    assert parts.exchange.turns.count("greedy") == 20
    assert set(parts.exchange.turns[:6]) == {"greedy", "other0", "other1", "other2"}
    assert not parts.store._plan._held
    assert not parts.store._plan.under_way


async def test_renewals_that_are_no_longer_worth_it_leave_none_of_the_user_behind():
    parts = gated()
    opened = [session(f"of.greedy.{n}", subject="greedy") for n in range(12)]
    for each in opened:
        await obtained(parts, each)
    for each in (*opened[:2], *opened[10:]):
        parts.clock.now = START + 0.7 * HOUR
        parts.get(each)  # these are in use, those between them are not
    parts.exchange.turns.clear()
    parts.clock.now = START + 0.85 * HOUR
    parts.store.renew_due()
    await asyncio.sleep(0)
    while parts.exchange._waiting:
        await parts.exchange.let_through()
    assert len(parts.exchange.turns) == 4
    assert not parts.store._plan._held


async def test_after_a_change_of_policy_only_what_is_used_again_is_renewed():
    parts = Parts()
    used, idle = session("used.token.x"), session("idle.token.x", subject="bob")
    await parts.obtain(used)
    await parts.obtain(idle)
    parts.clock.now = START + 0.7 * HOUR  # late enough that both count as used when they are due
    assert parts.get(used)
    assert parts.get(idle)
    parts.clock.now += 1
    parts.store.renew_only_what_is_used_again()
    parts.clock.now += 1
    assert parts.get(used)
    await parts.tick(START + 0.86 * HOUR)
    assert [token for token, _ in parts.exchange.calls[2:]] == ["used.token.x"]


async def test_the_memories_of_the_cache_hold_no_more_than_they_may():
    parts = Parts(max_entries=8, reuse_by_identity=True)
    for number in range(40):
        taken = session(f"token.of.{number}", subject=f"user{number}")
        await parts.obtain(taken)
        parts.clock.now += 40
        assert parts.store.forget_stale(parts.authorized(taken))
        await parts.obtain(taken)
    assert parts.table.credentials == 8
    assert len(parts.store._reuse._holders) == 8
    assert len(parts.store._reuse._refused) == 8


async def test_credentials_that_another_thread_drops_meanwhile_are_not_healed_twice():
    parts = Parts()
    held_by = session()
    await parts.obtain(held_by)
    authorized = parts.authorized(held_by)
    parts.clock.now += 120

    def dropping():
        parts.table.end_credentials(authorized.session, authorized.granted)
        return parts.clock.now

    parts.store._clock = dropping
    assert not parts.store.forget_stale(authorized)
    assert parts.table.credentials == 0


async def test_credentials_that_had_to_make_room_are_counted():
    parts = Parts(max_entries=2)
    for number in range(5):
        await parts.obtain(session(f"token.{number}", subject=f"user{number}"))
    assert (parts.table.credentials, parts.table.evicted_credentials) == (2, 3)


async def test_what_is_due_is_renewed_by_itself_until_that_is_cancelled(monkeypatch):
    monkeypatch.setattr(credentials, "_TICK", 0)
    parts = Parts()
    user = session()
    await parts.obtain(user)
    parts.clock.now = START + 0.95 * HOUR
    assert parts.get(user) is not None
    keeping = asyncio.ensure_future(parts.store.keep_fresh())
    for _ in range(1000):
        await asyncio.sleep(0)
    assert parts.calls == 2
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


class FakeSharing:
    """Shares with a replica that obtained credentials at ``obtained_at``, if they are new enough."""

    def __init__(self, obtained_at, token_ends_at=START + 8 * HOUR):
        self.obtained_at = obtained_at
        self.token_ends_at = token_ends_at
        self.wanted = []

    async def obtain(self, _session, _grant, exchange, *, newer_than):
        self.wanted.append(newer_than)
        if self.obtained_at <= newer_than:
            return await exchange()
        credentials = Credentials("ASIAOTHER", "s", "t", self.obtained_at + HOUR)
        return Obtained(credentials, self.obtained_at, self.token_ends_at)


async def test_what_another_replica_obtained_is_kept_as_old_as_it_is():
    store = Store()
    store.store._sharing = FakeSharing(START - 100)
    assert (await store.obtain()).access_key_id == "ASIAOTHER"
    [(_, live)] = store.open(session())[0].living()
    assert (live.obtained_at, live.ends_at) == (START - 100, START - 100 + HOUR - 60)
    assert store.exchange.calls == []


async def test_what_was_ended_or_is_renewed_is_to_be_newer_than_that():
    store = Store()
    sharing = store.store._sharing = FakeSharing(START - 100)
    kept, granted = store.open(session())
    await store.obtain()
    await store.store._exchanged(kept, granted)
    store.clock.now = START + 60
    store.table.end_credentials(kept, granted)
    await store.obtain()
    assert sharing.wanted == [0.0, START - 100, START + 60]
    assert len(store.exchange.calls) == 2
