"""Revocations reach all replicas, and last."""

import asyncio
import time

import pytest

from extproc.sessions.revocation import Selector
from extproc.shared_store.patience import UnavailableError
from extproc.shared_store.revocations import Confirmation
from support import stores
from support.stores import CountedSts, Replica, wanted

HOUR = 3600.0


@pytest.fixture
def server():
    with stores.Server() as server:
        yield server


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


async def test_replicas_put_back_what_the_store_has_lost(server):
    sts = CountedSts()
    async with Replica(server, sts) as one, Replica(server, sts) as two:
        await revoke(one, deny_until(), subject="alice")
        server.call("FLUSHALL")
        await eventually(lambda: any(b"entries" in key for key in server.content()))
        async with Replica(server, sts) as later:
            assert refuses(later)
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
        [(key, old)] = [(key, value) for key, value in server.content().items() if b"entries" in key]
        one.deny_list.remove(Selector(subject="alice"))
        await one.shared.revocations.take_back(Selector(subject="alice"))
        for field, sealed in old.items():
            server.call("HSET", key, field, sealed)
        server.call("SET", key.replace(b"entries", b"revision"), "77 other")
        await asyncio.sleep(1.0)
        assert not refuses(one)
        assert server.content()[key] != old  # and the newer one is back


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
