"""The memory of heads holds tokens: it is small, and forgets within two minutes."""

from functools import partial

import pytest

from extproc.caching.two_generations import TwoGenerationCache
from extproc.errors import Denied, Reason
from extproc.head_memory import memory as memory_module
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

    def __init__(self, key):
        self.key = key

    def verify_layout(self):
        return True


def remember(heads, key, admitted):
    """As when a head comes twice."""
    for _ in range(2):
        heads.remember(Known(key), admitted)


def admission():
    head = RequestHead("POST", "/mcp", "mcp.example", (("authorization", f"Bearer {TOKEN}"),), has_body=False)
    return Parts().pipeline.admission.admit(head)


def test_it_holds_at_most_4096_heads(clock):
    heads, admitted = memory(), admission()
    for number in range(5000):
        remember(heads, number, admitted)
        assert len(heads) <= 4096
    assert len(heads._seen) <= 4096


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
        heads.remember(heads.find(message, None)[1], admission())
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
        heads.check(KnownHead(admitted, ()), b"", admit)
    assert refused.value.reason is Reason.INTERNAL
    assert checks == [False]
    assert not heads.enabled


def test_once_a_head_differed_no_other_is_remembered(clock):
    heads = memory()
    heads.enabled = False
    remember(heads, "key", admission())
    assert len(heads) == 0
