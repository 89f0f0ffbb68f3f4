"""The store fails in every way that it can: requests are served by STS, and credentials are never another's."""

import asyncio
import contextlib
import dataclasses
import gc
import ssl
import time

import pytest

from extproc.sessions.revocation import Selector
from support import stores
from support.certificates import LOCAL, Authority
from support.stores import CountedSts, Proxy, Replica, Server, wanted

PATIENCE = 0.1


@pytest.fixture
def server():
    with Server() as server:
        yield server


def own(user, credentials):
    return credentials.session_token == f"{user.token} {user.grant.role_arn} {user.grant.session_name}"


async def open_breaker(replica):
    async with asyncio.timeout(10):
        while not replica.shared._patience.is_open:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def closed_breaker(replica):
    async with asyncio.timeout(20):
        while replica.shared._patience.is_open:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_without_a_store_a_replica_starts_and_says_that_it_is_degraded():
    sts = CountedSts()
    server = Server()  # not started
    async with Replica(server, sts, timeout=PATIENCE) as one:
        assert own(wanted(), await one.obtain(wanted()))
        assert one.shared.degraded()[0].startswith("shared store: not available (ConnectionError)")


async def test_a_frozen_store_holds_up_no_request_once_it_is_known(server):
    sts = CountedSts()
    async with Replica(server, sts, timeout=PATIENCE) as one:
        await one.obtain(wanted())
        server.freeze()
        burst = [wanted(f"burst-{number}") for number in range(50)]
        found = await asyncio.gather(*map(one.obtain, burst))
        assert all(map(own, burst, found))
        await open_breaker(one)
        before = dict(one.shared.counts().calls)
        for number in range(20):
            await one.obtain(wanted(f"later-{number}"))
        after = one.shared.counts().calls
        assert after["skipped"] >= before["skipped"] + 20
        assert after["slow"] - before["slow"] <= 1  # the poll's, if any
        assert any("no answer within" in each for each in one.shared.degraded())
        server.thaw()
        await closed_breaker(one)
        await one.written()
    async with Replica(server, sts, timeout=1.0) as later:  # what was obtained meanwhile was written
        exchanges = len(sts.calls)
        for user in burst:
            await later.obtain(user)
        assert len(sts.calls) == exchanges


async def test_a_killed_store_that_comes_back_empty_is_used_again(server):
    sts = CountedSts()
    async with Replica(server, sts) as one, Replica(server, sts) as two:
        await one.obtain(wanted())
        server.kill()
        for number in range(10):
            user = wanted(f"user-{number}")
            assert own(user, await one.obtain(user))
        server.start()
        await closed_breaker(one)
        await closed_breaker(two)
        await one.written()
        exchanges = len(sts.calls)
        for number in range(10):
            await two.obtain(wanted(f"user-{number}"))
        assert len(sts.calls) == exchanges


async def test_a_slow_store_is_used_and_one_that_is_slower_than_the_patience_is_not(server):
    sts = CountedSts()
    async with Proxy(server, delay=0.01) as proxy, Replica(server, sts, timeout=0.5, url=proxy.url) as one:
        await one.obtain(wanted())
        await one.written()
        proxy.delay = 5.0
        for number in range(4):
            user = wanted(f"user-{number}")
            assert own(user, await one.obtain(user))
        await open_breaker(one)


@pytest.mark.parametrize(("policy", "room"), [("noeviction", 500_000), ("allkeys-lru", 600_000)])
async def test_a_full_store_fails_no_request(policy, room):
    sts = CountedSts()
    with Server("--maxmemory-policy", policy) as server:
        used = int(server.call("INFO", "memory")["used_memory"])
        server.call("CONFIG", "SET", "maxmemory", used + room)
        async with Replica(server, sts) as one:
            users = [wanted(f"user-{number}") for number in range(400)]
            found = [await one.obtain(user) for user in users]
            assert all(map(own, users, found))
            await one.written()
            calls = one.shared.counts()
            assert bool(calls.writes["refused"]) == (policy == "noeviction")
        # What is there is still read, and is each user's own.
        async with Replica(server, sts) as two:
            newest_first = users[::-1]
            again = [await two.obtain(user) for user in newest_first]
            assert all(map(own, newest_first, again))
            assert two.shared.sharing.lookups["hit"] > 0


async def test_with_a_wrong_password_requests_are_served_and_the_password_is_in_no_message(tmp_path):
    sts = CountedSts()
    file = tmp_path / "password"
    file.write_text("wrong-password\n")
    with Server("--requirepass", "right") as server:
        async with Replica(server, sts, timeout=PATIENCE, password_file=str(file)) as one:
            assert own(wanted(), await one.obtain(wanted()))
            assert "AuthenticationError" in one.shared.degraded()[0]
            assert "wrong-password" not in repr(one.shared.degraded()) + repr(one.client._address)
        file.write_text("right")
        async with Replica(server, sts, password_file=str(file)) as one:
            assert one.shared.degraded() == []


async def test_an_acl_user_with_the_documented_rights_can_do_all_that_is_needed(server, tmp_path):
    documented = (
        (stores.DOCS / "shared-store.md").read_text().partition("ACL SETUSER extproc ")[2].partition("```")[0]
    )
    server.call("ACL", "SETUSER", "extproc", *documented.split())
    server.call("ACL", "SETUSER", "default", "off")
    file = tmp_path / "password"
    file.write_text("PASSWORD")
    sts = CountedSts()
    options = {"username": "extproc", "password_file": str(file)}
    async with Replica(server, sts, **options) as one, Replica(server, sts, **options) as two:
        await one.obtain(wanted())
        await one.written()
        await two.obtain(wanted())
        confirmation = await one.shared.revocations.announce(Selector(subject="alice"), deny_until=None)
        assert confirmation.confirmed == 2
        assert one.shared.counts().calls["refused"] == two.shared.counts().calls["refused"] == 0
    assert len(sts.calls) == 1


@pytest.mark.long
async def test_after_a_failover_by_sentinel_the_new_primary_is_used():
    sts = CountedSts()
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(Server())
        replica = stack.enter_context(Server("--replicaof", "127.0.0.1", str(primary.port)))
        sentinel = stack.enter_context(stores.Sentinel(primary))
        until = time.monotonic() + 60
        while b"online" not in str(primary.call("INFO", "replication")).encode() or not sentinel.call(
            "SENTINEL", "REPLICAS", "store"
        ):
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
        url = f"valkey://{sentinel.address}"
        async with Replica(primary, sts, url=url, sentinel="store") as one:
            await one.obtain(wanted("before"))
            await one.written()
            assert any(b":credentials" in key for key in primary.content())
            primary.kill()
            sentinel.call("SENTINEL", "FAILOVER", "store")
            until = time.monotonic() + 60
            number = 0
            while not any(b":credentials" in key and True for key in replica.content()) or number < 3:
                user = wanted(f"user-{number}")
                assert own(user, await one.obtain(user))
                number += 1
                assert time.monotonic() < until
                await asyncio.sleep(0.1)


@pytest.mark.filterwarnings(  # valkey-py leaves the connection to a node that the cluster knows by another name
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
async def test_a_cluster_has_each_entry_on_one_node_and_revocations_by_polling():
    sts = CountedSts()
    with Server("--cluster-enabled", "yes", "--cluster-port", str(stores.free_port())) as node:
        node.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until = time.monotonic() + 20
        while "cluster_state:ok" not in str(node.call("CLUSTER", "INFO")):
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
        options = {"url": f"valkey://{node.address}", "cluster": True}
        async with Replica(node, sts, **options) as one, Replica(node, sts, **options) as two:
            for number in range(20):
                await one.obtain(wanted(f"user-{number}"))
            await one.written()
            for number in range(20):
                await two.obtain(wanted(f"user-{number}"))
            confirmation = await one.shared.revocations.announce(Selector(subject="alice"), deny_until=None)
            assert confirmation.confirmed == 2
        assert len(sts.calls) == 20
        del one, two
        gc.collect()


async def test_with_tls_only_a_store_with_the_authoritys_certificate_is_talked_to(server, tmp_path):
    sts = CountedSts()
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    pair = authority.issue("store", *LOCAL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    async with Proxy(server, context=context) as proxy:
        url = proxy.url.replace("valkey:", "valkeys:")
        async with Replica(server, sts, url=url, ca_file=str(authority.certificate)) as one:
            assert one.shared.degraded() == []
            await one.obtain(wanted())
            await one.written()
        async with Replica(server, sts, url=url, ca_file=str(other.certificate)) as one:
            assert own(wanted("bob"), await one.obtain(wanted("bob")))
            assert "not available" in one.shared.degraded()[0]
    assert len([key for key in server.content() if b":credentials" in key]) == 1


async def test_two_replicas_under_load_and_faults_never_give_another_users_credentials(server):
    """Kill, freeze and slow down the store while 60 users come again and again at two replicas."""
    sts = CountedSts(seconds=0.005)
    stop = asyncio.Event()
    served = 0

    async def load(replica, user):
        nonlocal served
        while not stop.is_set():
            assert own(user, await replica.obtain(user))
            served += 1
            kept, _ = replica.opened(user)
            if served % 7 == 0:  # as if this replica had just started
                replica.sessions.end(kept)
            await asyncio.sleep(0.01)

    async with Proxy(server) as proxy:
        options = {"url": proxy.url, "timeout": PATIENCE}
        async with Replica(server, sts, **options) as one, Replica(server, sts, **options) as two:
            users = [wanted(f"user-{number}") for number in range(15)]
            users += [
                dataclasses.replace(
                    each, grant=dataclasses.replace(each.grant, role_arn="arn:aws:iam::1:role/Other")
                )
                for each in users
            ]
            running = [asyncio.create_task(load(replica, user)) for replica in (one, two) for user in users]
            await asyncio.sleep(0.2)
            server.freeze()
            await asyncio.sleep(0.4)
            server.thaw()
            proxy.delay = 0.05
            await asyncio.sleep(0.2)
            proxy.delay = 0.0
            server.kill()
            await asyncio.sleep(0.2)
            server.start()
            await closed_breaker(one)
            found = sum(replica.shared.sharing.lookups["hit"] for replica in (one, two))
            async with asyncio.timeout(20):
                while found == sum(  # noqa: ASYNC110
                    replica.shared.sharing.lookups["hit"] for replica in (one, two)
                ):
                    await asyncio.sleep(0.02)
            stop.set()
            await asyncio.gather(*running)
