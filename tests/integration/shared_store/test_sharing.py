"""Replicas share credentials through a real server."""

import asyncio
import contextlib
import dataclasses
import random

import pytest

from extproc.errors import Denied, Reason
from extproc.sessions.revocation import Selector
from extproc.shared_store.entries import Entry
from extproc.shared_store.keys import ServerKeys
from support import stores
from support.stores import OTHER_SECRET, SECRET, CountedSts, Replica, wanted


@pytest.fixture(scope="module")
def running():
    with stores.Server() as server:
        yield server


@pytest.fixture
def server(running):
    running.call("FLUSHALL")
    return running


@contextlib.asynccontextmanager
async def replicas(server, sts, count=2, **options):
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Replica(server, sts, **options)) for _ in range(count)]


async def test_one_exchange_serves_all_replicas_however_many_ask_at_once(server):
    sts = CountedSts(seconds=0.05)
    async with replicas(server, sts, 5) as five:
        everyone = [wanted(f"user-{number}") for number in range(40)]
        asked = [(replica, user) for replica in five for user in everyone]
        random.shuffle(asked)
        found = await asyncio.gather(*(replica.obtain(user) for replica, user in asked))
    assert len(sts.calls) == 40
    for (_, user), credentials in zip(asked, found, strict=True):
        assert credentials.session_token.startswith(f"{user.token} ")


async def test_a_replica_that_starts_finds_what_others_obtained(server):
    sts = CountedSts()
    async with replicas(server, sts, 1) as [first]:
        before = await first.obtain(wanted())
    async with replicas(server, sts, 1) as [second]:
        after = await second.obtain(wanted())
    assert len(sts.calls) == 1
    assert (after.access_key_id, after.expires_at) == (before.access_key_id, before.expires_at)


async def test_a_warm_request_does_not_touch_the_store(server):
    async with replicas(server, CountedSts(), 1) as [one]:
        await one.obtain(wanted())
        await one.written()
        lookups = dict(one.shared.sharing.lookups)
        for _ in range(10):
            await one.obtain(wanted())
        assert dict(one.shared.sharing.lookups) == lookups


@pytest.mark.parametrize(
    "other",
    [
        {"role_arn": "arn:aws:iam::123456789012:role/Admin"},
        {"session_name": "bob"},
        {"duration": 900},
        {"policy": "{}"},
        {"policy_arns": ("arn:aws:iam::aws:policy/ReadOnlyAccess",)},
        {"mapping": None},
    ],
)
async def test_another_grant_is_another_exchange(server, other):
    sts = CountedSts()
    async with replicas(server, sts) as [one, two]:
        first = wanted()
        await one.obtain(first)
        await one.written()
        await two.obtain(dataclasses.replace(first, grant=dataclasses.replace(first.grant, **other)))
    assert len(sts.calls) == 2


async def test_another_sts_is_another_exchange(server):
    sts = CountedSts()
    async with Replica(server, sts) as one, Replica(server, sts, site="eu-west-1") as two:
        await one.obtain(wanted())
        await one.written()
        await two.obtain(wanted())
    assert len(sts.calls) == 2


async def test_nothing_in_the_store_shows_a_token_a_user_or_a_secret_key(server):
    async with replicas(server, CountedSts(), 1) as [one]:
        credentials = await one.obtain(wanted("somebody"))
        await one.shared.revocations.announce(Selector(subject="somebody"), deny_until=None)
        await one.written()
        stolen = repr(server.content())
    for secret in ("somebody", "token.of", credentials.secret_access_key, credentials.access_key_id, "role/"):
        assert secret not in stolen


async def test_store_and_server_secret_open_nothing_without_the_token_and_one_token_only_its_own(server):
    async with replicas(server, CountedSts(), 1) as [one]:
        users = [wanted(f"user-{number}") for number in range(5)]
        for user in users:
            await one.obtain(user)
        await one.written()
        stolen = {key.decode(): value for key, value in server.content().items() if b":credentials" in key}
    assert len(stolen) == 5
    attacker, keys = users[0], ServerKeys.of(SECRET)
    opened = []
    for key, value in stolen.items():
        name = key[key.index("{") + 1 : key.index("}")]
        for digest in {user.digest for user in users}:  # even if all digests are known
            entry = Entry(
                [keys],
                digest=digest,
                unverified_token=attacker.token,
                grant=attacker.grant,
                exchange_site="us-east-1 ",
            )
            entry._named[name] = keys
            if entry.unseal(name, value) is not None:
                opened.append(key)
    assert set(opened) == {
        key
        for key in stolen
        if Entry(
            [keys],
            digest=attacker.digest,
            unverified_token=attacker.token,
            grant=attacker.grant,
            exchange_site="us-east-1 ",
        ).names[0]
        in key
    }


async def test_a_value_under_another_users_name_is_unusable_and_counted(server):
    sts = CountedSts()
    async with replicas(server, sts) as [one, two]:
        await one.obtain(wanted("alice"))
        await one.obtain(wanted("bob"))
        await one.written()
        first, second = [key for key in server.content() if key.endswith(b":credentials")]
        for source, target in ((first, b"spare"), (second, first), (b"spare", second)):
            server.call("RENAME", source, target)
        for name in ("alice", "bob"):
            found = await two.obtain(wanted(name))
            assert found.secret_access_key == f"secret of token.of.{name}"
        assert two.shared.sharing.lookups["unusable"] == 2
    assert len(sts.calls) == 4


@pytest.mark.parametrize(
    "odd", [b"", b"\x01", b"\x02" + b"0" * 600, b"\xff" * 100_000, "truncated", "flipped"]
)
async def test_an_odd_value_is_a_miss_and_is_replaced(server, odd):
    sts = CountedSts()
    async with replicas(server, sts, 3) as [one, two, three]:
        await one.obtain(wanted())
        await one.written()
        [key] = [key for key in server.content() if key.endswith(b":credentials")]
        value = server.call("GET", key)
        odd = {"truncated": value[:-1], "flipped": value[:-1] + bytes([value[-1] ^ 1])}.get(odd, odd)
        server.call("SET", key, odd)
        await two.obtain(wanted())
        await two.written()
        await three.obtain(wanted())
        assert two.shared.sharing.lookups["unusable"] == 1
        assert three.shared.sharing.lookups["hit"] == 1
    assert len(sts.calls) == 2


async def test_values_live_no_longer_than_the_token_or_the_credentials_without_their_margin(server):
    async with replicas(server, CountedSts(lifetime=1000), 1) as [one]:
        await one.obtain(wanted("short", lifetime=500))
        await one.obtain(wanted("long"))
        await one.written()
        left = sorted(server.call("PTTL", key) for key in server.content() if key.endswith(b":credentials"))
    assert 480_000 < left[0] <= 500_000
    assert 920_000 < left[1] <= 940_000


async def test_a_renewal_takes_only_what_is_newer_and_shares_what_it_gets(server):
    sts = CountedSts()
    async with replicas(server, sts) as [one, two]:
        first = await one.obtain(wanted())
        await one.written()
        assert (await two.obtain(wanted())).access_key_id == first.access_key_id
        renewed = (await one.store._exchanged(*one.opened(wanted()))).credentials
        await one.written()
        assert renewed.access_key_id != first.access_key_id
        also = (await two.store._exchanged(*two.opened(wanted()))).credentials
        assert also.access_key_id == renewed.access_key_id
    assert len(sts.calls) == 2


async def test_credentials_that_aws_refused_are_not_taken_again(server):
    sts = CountedSts()
    async with replicas(server, sts, 1) as [one]:
        first = await one.obtain(wanted())
        await one.written()
        kept, granted = one.opened(wanted())
        one.sessions.end_credentials(kept, granted)
        assert (await one.obtain(wanted())).access_key_id != first.access_key_id


async def test_a_dead_leader_costs_no_more_than_its_lease(server):
    sts, dead = CountedSts(), CountedSts(seconds=60)
    async with replicas(server, dead, 1) as [leader], replicas(server, sts, 1) as [follower]:
        leading = asyncio.ensure_future(leader.obtain(wanted()))
        while not dead.calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            await follower.obtain(wanted())
        assert follower.shared.sharing.waits == 1
        leading.cancel()
    assert len(sts.calls) == 1


async def test_a_refusal_of_sts_gives_the_lease_back_at_once(server):
    refusing, sts = CountedSts(), CountedSts()
    refusing.failure = Denied(Reason.STS_ACCESS_DENIED, "no")
    async with replicas(server, refusing, 1) as [one], replicas(server, sts, 1) as [two]:
        with pytest.raises(Denied):
            await one.obtain(wanted())
        await one.written()
        await two.obtain(wanted())
        assert two.shared.sharing.waits == 0


async def test_secrets_rotate_without_an_exchange(server):
    sts = CountedSts()
    for secrets in ((SECRET,), (SECRET, OTHER_SECRET), (OTHER_SECRET, SECRET), (OTHER_SECRET,)):
        async with replicas(server, sts, 1, secrets=secrets) as [one]:
            await one.obtain(wanted())
            await one.written()
    assert len(sts.calls) == 1


async def test_another_server_secret_finds_nothing(server):
    sts = CountedSts()
    async with Replica(server, sts) as one, Replica(server, sts, secrets=(OTHER_SECRET,)) as two:
        await one.obtain(wanted())
        await one.written()
        await two.obtain(wanted())
    assert len(sts.calls) == 2
