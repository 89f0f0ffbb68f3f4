"""Exchanges under the present configuration: what comes back is verified, and whose it is."""

import asyncio
import threading

import pytest
import structlog

from extproc.authn.audience import Audiences
from extproc.authn.trusted_issuer import ExchangedTokens
from extproc.errors import Denied, Reason
from extproc.sts.breaker import CircuitBreaker, State
from extproc.sts.guarded import CallLimits, GuardedCalls
from extproc.token_exchange import exchange as module
from extproc.token_exchange.exchange import SERVICE, ProviderExchange, TokenExchanges
from support.tokens import (
    ISSUER,
    NOW,
    FakeClock,
    FakeKeySource,
    claims,
    header,
    key_store,
    make_verifier,
    mint,
    rsa_key,
    trusted_issuer,
)

OTHER = "https://other.example"
LIMITS = CallLimits(deadline=2.0, workers=2, max_waiting=8)


class FakeEndpoint:
    def __init__(self):
        self.answer = None
        self.asked = []
        self.closed = False
        self.gate = threading.Event()
        self.gate.set()

    def exchange(self, token, _until):
        self.asked.append(token)
        self.gate.wait(5)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self):
        self.closed = True


class Parts:
    def __init__(self, *, keys=None, **wanted):
        self.clock = FakeClock()
        requirements = ExchangedTokens(**{"issuer": ISSUER, "audiences": Audiences(["aws"]), **wanted})
        other = {"keys": keys} if keys else {}
        self.verifier = make_verifier(
            trusted_issuer(exchanged=requirements, config_digest=b"digest"),
            trusted_issuer(issuer=OTHER, **other),
            clock=self.clock,
        )
        self.endpoint = FakeEndpoint()
        self.outcomes = []
        self.provider = self.provider_of(self.endpoint)
        self.exchanges = TokenExchanges(
            clock=self.clock, on_unusable=lambda *outcome: self.outcomes.append(outcome)
        )
        self.exchanges.apply({ISSUER: self.provider}, self.verifier)

    def provider_of(self, endpoint):
        breaker = CircuitBreaker(failures=2, open_for=10, clock=self.clock)
        return ProviderExchange(ISSUER, endpoint, GuardedCalls(SERVICE, breaker=breaker, limits=LIMITS))

    async def user(self, **changes):
        return await self.verifier.verify(mint(claims(**changes)))

    async def exchange(self, answer=None, **user):
        if answer is not None:
            self.endpoint.answer = answer
        return await self.exchanges.exchange(await self.user(**user), "u.s.r")

    async def denial(self, answer=None, **user):
        with pytest.raises(Denied) as caught:
            await self.exchange(answer, **user)
        return caught.value


@pytest.fixture
def make():
    made = []

    def build(**wanted):
        made.append(Parts(**wanted))
        return made[-1]

    yield build
    for parts in made:
        parts.endpoint.gate.set()
        parts.exchanges.close()


def exchanged(head=None, key=None, **changes):
    return mint(claims(**{"aud": "aws", **changes}), head or header(typ="JWT"), key=key)


async def test_the_token_that_comes_back_is_verified_and_ends_with_the_users(make):
    parts = make()
    token = exchanged(exp=NOW + 300)
    found = await parts.exchange(token)
    assert (found.token, found.obtained_at, found.expires_at) == (token, NOW, NOW + 300)
    assert found.config_digest == b"digest"
    assert parts.endpoint.asked == ["u.s.r"]
    assert (await parts.exchange(exchanged(exp=NOW + 900))).expires_at == NOW + 600


async def test_another_claim_can_say_whose_the_token_is(make):
    parts = make(subject_claim="oid", token_subject_claim="user")
    assert await parts.exchange(exchanged(sub="pairwise", user="o1"), oid="o1")
    assert "oid" in (await parts.denial(exchanged(user="o1"))).detail
    assert "user is not the oid" in (await parts.denial(exchanged(user="o2"), oid="o1")).detail


@pytest.mark.parametrize("value", ["", None, 7, ["alice"], True])
async def test_a_claim_that_is_no_name_binds_nothing(make, value):
    parts = make(subject_claim="oid", token_subject_claim="oid")
    assert (await parts.denial(exchanged(oid=value), oid=value)).reason is Reason.TOKEN_EXCHANGE_MISCONFIGURED


@pytest.mark.parametrize(
    ("token", "cause"),
    [
        (exchanged(sub="bob"), "exchange_token_foreign"),
        (exchanged(aud="https://mcp.example/mcp"), "audience_wrong"),
        (exchanged(iss=OTHER), "exchange_token_foreign"),
        (exchanged(iss="https://evil.example"), "issuer_unknown"),
        (exchanged(key=rsa_key("second")), "signature_invalid"),
        (exchanged(exp=NOW - 60), "token_expired"),
        (exchanged(header(typ="logout+jwt")), "token_malformed"),
        ("canary", "token_malformed"),
    ],
)
async def test_a_token_that_is_not_the_users_or_not_for_aws_is_the_operators_fault(make, token, cause):
    parts = make()
    denied = await parts.denial(token)
    assert denied.reason is Reason.TOKEN_EXCHANGE_MISCONFIGURED
    assert denied.detail.startswith("the exchanged token is not accepted: ")
    assert f" {cause}" in denied.detail
    assert "eyJ" not in str(denied)
    assert parts.outcomes == [(ISSUER, "token_exchange_misconfigured", "unusable_token", 0.0)]


async def test_required_claims_are_those_of_the_exchanged_token(make):
    parts = make(required_claims={"azp": ("gateway",)})
    assert await parts.exchange(exchanged(azp="gateway"))
    assert "token_required_claims" in (await parts.denial(exchanged(azp="cli"))).detail


async def test_the_token_may_be_of_another_issuer_that_is_configured(make):
    parts = make(issuer=OTHER)
    assert await parts.exchange(exchanged(iss=OTHER))
    assert (await parts.denial(exchanged())).reason is Reason.TOKEN_EXCHANGE_MISCONFIGURED


async def test_keys_that_cannot_be_fetched_are_no_fault_of_the_configuration(make):
    parts = make(issuer=OTHER, keys=key_store(FakeKeySource(), issuer=OTHER))
    assert (await parts.denial(exchanged(iss=OTHER))).reason is Reason.KEYS_UNAVAILABLE


async def test_a_provider_that_is_down_is_left_alone_after_a_few_failures(make):
    parts = make()
    down = Denied(Reason.TOKEN_EXCHANGE_UNAVAILABLE, "down")
    for _ in range(4):
        assert (await parts.denial(down)).reason is Reason.TOKEN_EXCHANGE_UNAVAILABLE
    assert len(parts.endpoint.asked) == 2
    assert parts.exchanges.breakers == {ISSUER: State.OPEN}
    parts.clock.advance(11)
    assert await parts.exchange(exchanged(exp=NOW + 300))
    assert parts.exchanges.breakers == {ISSUER: State.CLOSED}


async def test_one_user_cannot_use_up_the_queue(make):
    parts = make()
    parts.endpoint.gate.clear()
    parts.endpoint.answer = exchanged()
    requests = [asyncio.create_task(parts.exchange()) for _ in range(5)]
    done, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    assert {task.exception().reason for task in done} == {Reason.USER_BUSY}
    assert parts.exchanges.waiting == 4
    parts.endpoint.gate.set()
    await asyncio.wait(requests)


async def test_only_issuers_that_have_an_exchange_exchange(make):
    parts = make()
    user = await parts.user()
    assert parts.exchanges.applies_to(user)
    parts.exchanges.apply({}, parts.verifier)
    assert not parts.exchanges.applies_to(user)


async def test_a_request_that_a_reload_overtakes_is_denied(make):
    parts = make()
    parts.exchanges.apply({}, parts.verifier)
    assert (await parts.denial(exchanged())).reason is Reason.CONFIGURATION_CHANGED


async def test_an_exchange_that_is_not_configured_any_more_ends_when_no_request_waits(make, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_AFTER", 0.0)
    parts = make()
    kept, other = parts.endpoint, FakeEndpoint()
    parts.exchanges.apply({ISSUER: parts.provider}, parts.verifier)
    await asyncio.sleep(0.01)
    assert not kept.closed
    parts.exchanges.apply({ISSUER: parts.provider_of(other)}, parts.verifier)
    await asyncio.sleep(0.01)
    assert (kept.closed, other.closed) == (True, False)


async def test_a_verifier_without_the_exchange_refuses_what_comes_late(make):
    parts = make()
    user = await parts.user()
    with pytest.raises(Denied) as caught:
        await make_verifier().verify_exchanged(user, exchanged())
    assert caught.value.reason is Reason.CONFIGURATION_CHANGED


def test_exchanged_tokens_need_audiences():
    with pytest.raises(ValueError, match="need audiences"):
        trusted_issuer(exchanged=ExchangedTokens(ISSUER, Audiences(())))


async def test_no_token_is_logged_whatever_happens(make):
    parts = make()
    with structlog.testing.capture_logs() as logged:
        for token in (exchanged(), exchanged(sub="bob"), "canary"):
            await asyncio.gather(parts.exchange(token), return_exceptions=True)
    assert [entry["event"] for entry in logged] == ["token_exchange_failed"] * 2
    assert "eyJ" not in str(logged)
    assert "canary" not in str(logged)
