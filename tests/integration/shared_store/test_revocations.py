"""Revocations reach all replicas, and last."""

import asyncio
import time
import tracemalloc

import pytest

from extproc.sessions.revocation import Selector
from extproc.shared_store.patience import UnavailableError
from extproc.shared_store.revocations import Confirmation
from support import stores
from support.stores import CountedSts, Replica, wanted

HOUR = 3600.0


ENTRIES, REPLICAS, REVISION = (
    f"extproc:{{revocations}}:{name}" for name in ("entries", "replicas", "revision")
)


@pytest.fixture(scope="module")
def running():
    with stores.Server() as server:
        yield server


@pytest.fixture
def server(running):
    running.call("FLUSHALL")
    return running


def deny_until():
    return time.time() + HOUR


async def eventually(holds, within=5.0):
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def refuses(replica, name="alice"):
    return replica.deny_list.refuses(wanted(name).identity)


async def revoke(replica, until=None, **conditions):
    selector = Selector(**conditions)
    replica.revocation.revoke(selector, deny_until=until)
    return await replica.shared.revocations.announce(selector, deny_until=until)


async def test_a_revocation_on_one_replica_holds_on_all_when_it_returns_and_on_those_that_start_later(server):
    sts = CountedSts()
    async with Replica(server, sts) as one, Replica(server, sts) as two, Replica(server, sts) as three:
        await two.obtain(wanted())
        assert await revoke(one, deny_until(), subject="alice") == Confirmation(replicas=3, confirmed=3)
        assert refuses(two)
        assert refuses(three)
        assert not refuses(two, "bob")
        assert len(two.sessions) == 0
    async with Replica(server, sts) as later:  # after all were restarted
        assert refuses(later)


async def test_a_revocation_that_is_taken_back_is_so_everywhere_and_stays_so(server):
    sts = CountedSts()
    async with Replica(server, sts) as one, Replica(server, sts) as two:
        await revoke(one, deny_until(), subject="alice")
        two.deny_list.remove(Selector(subject="alice"))
        assert await two.shared.revocations.take_back(Selector(subject="alice")) == Confirmation(2, 2)
        assert not refuses(one)
    async with Replica(server, sts) as later:
        assert not refuses(later)


@pytest.mark.parametrize(
    "conditions", [{"subject": "alice"}, {"issuer": "https://idp.example"}, {"role_arn": stores.ROLE}]
)
async def test_credentials_from_before_a_revocation_are_taken_by_no_replica(server, conditions):
    sts = CountedSts()
    async with Replica(server, sts) as one:
        await one.obtain(wanted())
        await one.written()
        await revoke(one, None, **conditions)
        await one.obtain(wanted())
    async with Replica(server, sts) as two:
        await two.obtain(wanted())
        assert two.shared.sharing.lookups["unusable"] == 1
    assert len(sts.calls) == 3


async def test_a_revocation_without_a_refusal_lifts_none_at_other_replicas(server):
    sts = CountedSts()
    async with Replica(server, sts) as one, Replica(server, sts) as two:
        await revoke(one, deny_until(), subject="alice")
        await revoke(two, None, subject="alice")
        assert refuses(one)
        assert refuses(two)
    async with Replica(server, sts) as later:
        assert refuses(later)


async def test_entries_that_alone_are_lost_are_put_back(server):
    """As by a store that evicts the least recently used key."""
    sts = CountedSts()
    async with Replica(server, sts) as one:
        await revoke(one, deny_until(), subject="alice")
        server.call("DEL", ENTRIES)
        await eventually(lambda: server.call("HLEN", ENTRIES) == 1)


@pytest.mark.parametrize("attack", ["removed", "set back"])
async def test_what_was_removed_or_set_back_holds_at_a_replica_that_starts_if_one_knows_it(server, attack):
    sts = CountedSts()
    async with Replica(server, sts) as one:
        await revoke(one, None, subject="alice")
        await revoke(one, None, subject="bob")
        old = server.call("HGETALL", ENTRIES)
        await revoke(one, deny_until(), subject="alice")
        await eventually(lambda: not one.shared.revocations._is_behind)
        await asyncio.sleep(0.6)  # nothing more happens at this one
        for field, sealed in old.items():
            server.call("HSET", ENTRIES, field, b"junk" if attack == "removed" else sealed)
        async with Replica(server, sts) as later:
            await eventually(lambda: refuses(later), within=2.0)


async def test_whatever_others_write_to_the_store_is_not_read_if_it_is_large_and_holds_nothing_up(server):
    sts = CountedSts()
    large = 8_000_000
    server.call("HSET", ENTRIES, "large", b"x" * large)
    server.call("HSET", ENTRIES, b"n" * large, b"x")
    server.call("HSET", REPLICAS, "large", b"9" * large)
    server.call("HSET", REPLICAS, "digits", b"9" * 250)
    server.call("SET", REVISION, b"9" * large)
    tracemalloc.start()
    async with Replica(server, sts) as one, Replica(server, sts) as two:
        confirmation = await revoke(one, deny_until(), subject="alice")
        assert confirmation.replicas >= 2
        assert refuses(two)
        assert one.shared.revocations.unusable == 2
        [key] = [key async for key in _obtained(server, one)]
        server.call("SETRANGE", key, large, b"x")
        await two.obtain(wanted("bob"))
        assert two.shared.sharing.lookups["unusable"] == 1
    assert tracemalloc.get_traced_memory()[1] < large
    tracemalloc.stop()


async def _obtained(server, replica):
    await replica.obtain(wanted("bob"))
    await replica.written()
    for key in server.call("KEYS", "*:credentials"):
        yield key


async def test_a_selector_that_is_too_long_is_refused_and_disturbs_no_other(server):
    sts = CountedSts()
    async with Replica(server, sts) as one, Replica(server, sts) as two:
        with pytest.raises(UnavailableError, match="too long"):
            await revoke(one, deny_until(), subject="a" * 40_000)
        await revoke(one, deny_until(), subject="alice")
        assert refuses(two)


async def test_replicas_put_back_what_the_store_has_lost(server):
    sts = CountedSts()
    async with Replica(server, sts) as one, Replica(server, sts) as two:
        await revoke(one, deny_until(), subject="alice")
        server.call("FLUSHALL")
        await eventually(lambda: any(b"entries" in key for key in server.content()))
        async with Replica(server, sts) as later:
            await eventually(lambda: refuses(later))
        assert refuses(two)


async def test_a_revocation_while_the_store_is_down_is_an_error_and_reaches_others_when_it_is_back(server):
    sts = CountedSts()
    async with Replica(server, sts, timeout=0.1) as one, Replica(server, sts, timeout=0.1) as two:
        server.kill()
        with pytest.raises(UnavailableError):
            await revoke(one, deny_until(), subject="alice")
        assert refuses(one)
        server.start()
        await eventually(lambda: refuses(two), within=10)


async def test_an_older_revocation_that_is_put_back_changes_nothing(server):
    sts = CountedSts()
    async with Replica(server, sts) as one:
        await revoke(one, deny_until(), subject="alice")
        old = server.call("HGETALL", ENTRIES)
        one.deny_list.remove(Selector(subject="alice"))
        await one.shared.revocations.take_back(Selector(subject="alice"))
        for field, sealed in old.items():
            server.call("HSET", ENTRIES, field, sealed)
        server.call("SET", REVISION, "77 other")
        await eventually(lambda: server.call("HGETALL", ENTRIES) != old)
        assert not refuses(one)
        assert server.call("HGETALL", ENTRIES) != old  # and the newer one is back


async def test_what_was_not_sealed_with_the_server_secret_is_no_revocation(server):
    sts = CountedSts()
    async with Replica(server, sts, secrets=(stores.OTHER_SECRET,)) as stranger:
        await revoke(stranger, deny_until(), subject="alice")
    server.call("HSET", "extproc:{revocations}:entries", "junk", b"\x01" + bytes(600))
    async with Replica(server, sts) as one:
        assert not refuses(one)
        assert one.shared.revocations.unusable == 2
        assert "secret_file" in one.shared.degraded()[0]


async def test_a_replica_that_ended_without_a_word_counts_as_unconfirmed(server):
    sts = CountedSts()
    gone = Replica(server, sts)
    await gone.shared.revocations.load()  # and nothing more
    async with Replica(server, sts) as one:
        assert await revoke(one, deny_until(), subject="alice") == Confirmation(replicas=2, confirmed=1)
    await gone.client.close()


async def test_what_is_over_leaves_the_store(server):
    sts = CountedSts()
    async with Replica(server, sts) as one:
        one.shared.revocations._clock = lambda: time.time() - 13 * HOUR
        await revoke(one, None, subject="alice")
    async with Replica(server, sts) as later:
        assert list(later.shared.revocations.table) == []
        assert not any(b"entries" in key for key in server.content())
