"""The memory of heads holds tokens: it is bounded, and forgets within two minutes."""

from dataclasses import replace
from functools import partial

import pytest

from extproc.caching.two_generations import TwoGenerationCache
from extproc.errors import Denied, Reason
from extproc.head_memory import memory as memory_module
from extproc.head_memory.fingerprint import LONGEST
from extproc.head_memory.memory import HeadMemory, KnownHead
from extproc.values import ImmediateResponse, RequestHead
from support.clock import Clock
from support.envoy_messages import headers_message
from support.pipelines import TOKEN, Parts


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(memory_module, "TwoGenerationCache", partial(TwoGenerationCache, timer=clock))
    return clock


def memory():
    return HeadMemory(enabled=True, not_kept=frozenset({"authorization"}), check_one_in=1000)


class Known:
    """A fingerprint of a message whose layout is as expected."""

    spots = ()

    def __init__(self, key, message=b""):
        self.key = key
        self.message = message

    def verify_layout(self):
        return True


def remember(heads, key, admitted, **more):
    """As when a head comes twice."""
    for _ in range(2):
        heads.remember(Known(key, **more), admitted, token=TOKEN)


def admission():
    head = RequestHead("POST", "/mcp", "mcp.example", (("authorization", f"Bearer {TOKEN}"),), has_body=False)
    return Parts().pipeline.admission.admit(head)


@pytest.mark.parametrize(
    ("length", "headers", "takes"),
    [(LONGEST, 1, LONGEST), (1024, 80, 20_000)],
    ids=["long heads", "many short headers"],
)
def test_it_holds_at_most_128_mib_of_heads(clock, length, headers, takes):
    heads, admitted, message = memory(), admission(), b"x" * length
    admitted = replace(admitted, head=replace(admitted.head, headers=(("a", "b"),) * headers))
    most = 128 * 1024 * 1024 // takes
    for number in range(most + 10):
        remember(heads, number, admitted, message=message)
    assert most / 3 < len(heads) <= most


def test_it_holds_at_most_32768_hashes_of_heads_that_came_once(clock):
    heads, admitted = memory(), admission()
    for number in range(40_000):
        heads.remember(Known(number), admitted, token=TOKEN)
    assert len(heads) == 0
    assert 16_384 <= len(heads._seen) <= 32_768


def test_heads_of_ten_thousand_users_in_turn_are_known(clock):
    heads, admitted, message = memory(), admission(), b"x" * 1500
    for number in range(10_000):
        remember(heads, number, admitted, message=message)
    assert all(heads._heads.get(number) for _ in range(2) for number in range(10_000))


def test_a_head_shares_the_token_that_its_session_keeps(clock):
    heads, token, message = memory(), "".join(TOKEN), headers_message()
    for kept in (token, "another"):
        for _ in range(2):
            heads.remember(heads.find(message, kept)[1], admission(), token=kept)
        known, _ = heads.find(message, kept)
        assert known.admission.unverified_token == TOKEN


def test_a_head_that_does_not_come_again_is_gone_after_two_minutes(clock):
    heads = memory()
    remember(heads, "key", admission())
    for clock.now in (61.0, 122.0):
        heads.forget_idle()
    assert len(heads) == len(heads._seen) == 0


def test_a_head_that_comes_each_minute_stays(clock):
    heads = memory()
    message = headers_message()
    for _ in range(2):
        heads.remember(heads.find(message, None)[1], admission(), token=TOKEN)
    for minute in range(1, 5):
        clock.now = 59.0 * minute
        heads.forget_idle()
        assert heads.find(message, None)[0] is not None


def denied():
    raise Denied(Reason.REQUEST_AMBIGUOUS)


@pytest.mark.parametrize(
    "admit",
    [lambda: None, lambda: ImmediateResponse(200, (), b""), denied],
    ids=["no head", "an answer", "refused"],
)
def test_a_known_head_that_is_not_admitted_again_ends_the_memory(clock, admit):
    heads, admitted, checks = memory(), admission(), []
    heads._on_check = checks.append
    remember(heads, "key", admitted)
    with pytest.raises(Denied) as refused:
        heads.check(KnownHead(admitted, (), 0), b"", admit)
    assert refused.value.reason is Reason.INTERNAL
    assert checks == [False]
    assert not heads.enabled


def test_once_a_head_differed_no_other_is_remembered(clock):
    heads = memory()
    heads.enabled = False
    remember(heads, "key", admission())
    assert len(heads) == 0
