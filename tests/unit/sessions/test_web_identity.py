"""The token that STS gets: exchanged once for a session, shared by its grants, and never longer-lived."""

import asyncio

import pytest

from extproc.errors import Denied, Reason
from extproc.sessions.credentials import CredentialPolicy, CredentialStore
from extproc.sessions.table import SessionTable
from extproc.values import WebIdentityToken
from support.credentials import HOUR, START, FakeClock, FakeExchange, grant, session


class FakeProvider:
    """Gives tokens that live for ``lifetime``; ``failure`` and ``gate`` hold it up."""

    def __init__(self, clock):
        self._clock = clock
        self.lifetime = HOUR
        self.applies = True
        self.calls = []
        self.failure = None
        self.gate = asyncio.Event()
        self.gate.set()

    def applies_to(self, _identity):
        return self.applies

    async def exchange(self, identity, token):
        self.calls.append(token)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        now = self._clock()
        expires_at = min(identity.expires_at, now + self.lifetime)
        return WebIdentityToken(f"exchanged{len(self.calls)}", now, expires_at, identity.config_digest)


class Parts:
    def __init__(self):
        self.clock = FakeClock()
        self.sts = FakeExchange(self.clock)
        self.provider = FakeProvider(self.clock)
        self.table = SessionTable(max_entries=100, clock=self.clock)
        self.store = CredentialStore(
            sessions=self.table,
            exchange=self.sts,
            token_exchange=self.provider,
            clock=self.clock,
            policy=CredentialPolicy(margin=60, negative_ttl=30),
            random_share=lambda: 0.5,
        )

    def open(self, wanted=None):
        wanted = wanted or session()
        return self.table.open(wanted.digest, wanted.identity, wanted.token)

    async def obtain(self, opened, role="Reader"):
        granted = opened.granted(grant(role_arn=f"arn:aws:iam::123456789012:role/{role}"))
        return await self.store.obtain(opened, granted)

    async def denial(self, opened, role="Reader"):
        with pytest.raises(Denied) as caught:
            await self.obtain(opened, role)
        return caught.value

    @property
    def sent(self):
        return [token for token, _ in self.sts.calls]


@pytest.fixture
def parts():
    return Parts()


async def test_sts_gets_the_exchanged_token_and_the_provider_the_users(parts):
    await parts.obtain(parts.open())
    assert (parts.provider.calls, parts.sent) == (["a.b.c"], ["exchanged1"])


async def test_without_an_exchange_sts_gets_the_users_token(parts):
    parts.provider.applies = False
    await parts.obtain(parts.open())
    assert (parts.provider.calls, parts.sent) == ([], ["a.b.c"])


async def test_a_thousand_first_requests_are_one_exchange_at_the_provider_and_one_at_sts(parts):
    opened = parts.open()
    parts.provider.gate.clear()
    requests = [asyncio.create_task(parts.obtain(opened)) for _ in range(1000)]
    await asyncio.sleep(0)
    parts.provider.gate.set()
    lives = await asyncio.gather(*requests)
    assert len({id(live) for live in lives}) == 1
    assert (len(parts.provider.calls), len(parts.sts.calls)) == (1, 1)


async def test_two_roles_of_a_session_share_one_token_at_the_same_time_and_later(parts):
    opened = parts.open()
    await asyncio.gather(parts.obtain(opened, "One"), parts.obtain(opened, "Two"))
    await parts.obtain(opened, "Three")
    assert (len(parts.provider.calls), parts.sent) == (1, ["exchanged1"] * 3)


async def test_nothing_is_shared_between_two_tokens_of_a_user(parts):
    await parts.obtain(parts.open(session("a.b.c")))
    await parts.obtain(parts.open(session("d.e.f")))
    assert (parts.provider.calls, parts.sent) == (["a.b.c", "d.e.f"], ["exchanged1", "exchanged2"])


async def test_a_token_near_its_end_is_not_used_for_another_role(parts):
    opened = parts.open()
    await parts.obtain(opened, "One")
    parts.clock.now += 0.81 * HOUR
    await parts.obtain(opened, "Two")
    assert parts.sent == ["exchanged1", "exchanged2"]


async def test_another_configuration_of_the_issuer_needs_another_token(parts):
    opened = parts.open()
    await parts.obtain(opened, "One")
    opened.exchanged = WebIdentityToken("old", START, START + HOUR, b"another configuration")
    await parts.obtain(opened, "Two")
    assert parts.sent == ["exchanged1", "exchanged2"]


@pytest.mark.parametrize(("lifetime", "ends_after"), [(300, 300), (2 * HOUR, HOUR - 60)])
async def test_credentials_end_with_the_exchanged_token(parts, lifetime, ends_after):
    parts.provider.lifetime = lifetime
    live = await parts.obtain(parts.open())
    assert live.ends_at == START + ends_after


async def test_nothing_outlives_the_users_token(parts):
    opened = parts.open(session(expires_at=START + 120))
    live = await parts.obtain(opened)
    assert live.ends_at == opened.exchanged.expires_at == START + 120


async def test_both_are_renewed_before_the_exchanged_token_ends(parts):
    parts.provider.lifetime = 300
    opened = parts.open()
    one = await parts.obtain(opened, "One")
    two = await parts.obtain(opened, "Two")
    assert one.renew_at == START + 240
    parts.clock.now += 241
    one.used_at = two.used_at = parts.clock.now
    await asyncio.gather(*parts.store.renew_due())
    assert parts.sent == ["exchanged1"] * 2 + ["exchanged2"] * 2
    assert {live.ends_at for _, live in opened.living()} == {parts.clock.now + 300}


async def test_credentials_are_renewed_with_a_newer_token_however_long_the_earlier_one_lives(parts):
    parts.provider.lifetime = 24 * HOUR
    opened = parts.open(session(expires_at=START + 24 * HOUR))
    live = await parts.obtain(opened)
    parts.clock.now = live.used_at = live.renew_at
    await asyncio.gather(*parts.store.renew_due())
    assert parts.sent == ["exchanged1", "exchanged2"]


async def test_while_the_provider_is_down_living_sessions_are_not_harmed(parts):
    opened = parts.open()
    live = await parts.obtain(opened)
    parts.provider.failure = Denied(Reason.TOKEN_EXCHANGE_UNAVAILABLE, "down")
    parts.clock.now = live.renew_at + 1
    live.used_at = parts.clock.now
    await asyncio.gather(*parts.store.renew_due(), return_exceptions=True)
    (granted,) = opened.grants
    assert parts.store.living(granted) is live
    assert parts.store.renewals == {"ok": 0, "failed": 1}
    assert (await parts.denial(parts.open(session("d.e.f")))).reason is Reason.TOKEN_EXCHANGE_UNAVAILABLE
    parts.provider.failure = None
    parts.clock.now += HOUR * 0.05
    await asyncio.gather(*parts.store.renew_due())
    assert parts.store.renewals == {"ok": 1, "failed": 1}


@pytest.mark.parametrize(
    "reason",
    [
        Reason.TOKEN_EXCHANGE_REFUSED,
        Reason.TOKEN_EXCHANGE_INTERACTION,
        Reason.TOKEN_EXCHANGE_CONSENT,
        Reason.TOKEN_EXCHANGE_DENIED,
        Reason.TOKEN_EXCHANGE_MISCONFIGURED,
    ],
)
async def test_a_definite_refusal_is_remembered_for_all_roles_of_the_session(parts, reason):
    opened = parts.open()
    parts.provider.failure = Denied(reason, "no", code="c")
    assert (await parts.denial(opened, "One")).reason is reason
    again = await parts.denial(opened, "Two")
    assert (again.reason, again.code) == (reason, "c")
    assert "remembered" in again.detail
    assert len(parts.provider.calls) == 1
    parts.clock.now += 31
    parts.provider.failure = None
    await parts.obtain(opened, "Two")
    assert opened.exchange_refusal is None


async def test_a_provider_that_is_down_is_asked_again(parts):
    opened = parts.open()
    parts.provider.failure = Denied(Reason.TOKEN_EXCHANGE_UNAVAILABLE)
    for _ in range(2):
        await parts.denial(opened)
    assert len(parts.provider.calls) == 2


async def test_a_token_that_sts_refused_is_not_used_again(parts):
    opened = parts.open()
    parts.sts.failure = Denied(Reason.STS_TOKEN_EXPIRED)
    await parts.denial(opened, "One")
    parts.sts.failure = None
    await parts.obtain(opened, "Two")
    assert parts.sent == ["exchanged1", "exchanged2"]


async def test_nothing_is_kept_for_a_session_that_ended_meanwhile(parts):
    opened = parts.open()
    parts.provider.gate.clear()
    request = asyncio.create_task(parts.obtain(opened))
    await asyncio.sleep(0.001)
    parts.table.end(opened)
    parts.provider.gate.set()
    await request
    assert opened.exchanged is None
    assert not opened.living()


async def test_the_end_of_a_session_ends_its_exchanged_token(parts):
    opened = parts.open()
    await parts.obtain(opened)
    parts.table.end(opened)
    assert opened.exchanged is None


async def test_one_request_that_leaves_does_not_take_the_exchange_from_the_others(parts):
    opened = parts.open()
    parts.provider.gate.clear()
    requests = [asyncio.create_task(parts.obtain(opened)) for _ in range(2)]
    await asyncio.sleep(0.001)
    requests[0].cancel()
    parts.provider.gate.set()
    assert await requests[1]
    assert len(parts.provider.calls) == 1


def test_an_exchanged_token_shows_nothing_and_is_not_written():
    token = WebIdentityToken("canary", START, START + 1)
    assert "canary" not in repr(token)
    with pytest.raises(TypeError):
        token.__reduce__()
