"""A user who has too much under way is asked for once more, and then refused; others are not held up."""

import asyncio
import inspect

from extproc.errors import Denied, Reason
from extproc.request.stream import Stream
from extproc.values import Credentials
from support.driven import answers_to
from support.envoy_messages import Seen, headers_message
from support.pipelines import NOW, Parts


class Busy:
    """An exchange that refuses so many times, and then gives credentials."""

    def __init__(self, times, reason=Reason.USER_BUSY):
        self.times = times
        self.reason = reason
        self.calls = 0

    async def exchange(self, _owner, _token, _grant):
        self.calls += 1
        if self.calls <= self.times:
            raise Denied(self.reason, "told to")
        return Credentials("ASIA0", "s", "t", NOW + 900)


async def answered(times, **more):
    parts = Parts()
    parts.credentials._exchange = exchange = Busy(times, **more)
    step = Stream(parts.pipeline, target_name=None).receive(headers_message(end_of_stream=True))
    return Seen((await step if inspect.isawaitable(step) else step).message), exchange


async def test_what_is_too_much_for_a_moment_is_served_after_it():
    seen, exchange = await answered(1)
    assert seen.is_signed
    assert exchange.calls == 2


async def test_what_stays_too_much_is_a_429_that_says_when_to_come_again():
    seen, exchange = await answered(9)
    assert seen.status == 429
    assert seen.set["retry-after"] == "1"
    assert exchange.calls == 2


async def test_no_other_denial_is_retried():
    for reason in (Reason.STS_BUSY, Reason.STS_UNAVAILABLE, Reason.STS_ACCESS_DENIED):
        _, exchange = await answered(1, reason=reason)
        assert exchange.calls == 1


async def test_the_number_of_pausing_requests_is_bounded():
    parts = Parts()
    parts.credentials._exchange = exchange = Busy(9)
    parts.pipeline.authorization._pausing = 2048
    step = Stream(parts.pipeline, target_name=None).receive(headers_message(end_of_stream=True))
    assert Seen((await asyncio.ensure_future(step)).message).status == 429
    assert exchange.calls == 1
    assert parts.pipeline.authorization._pausing == 2048


async def test_two_hundred_first_requests_are_one_exchange_and_all_signed():
    parts = Parts()
    requests = (answers_to(parts, headers_message(end_of_stream=True)) for _ in range(200))
    found = await asyncio.gather(*requests)
    assert all(Seen(answers[-1].message).is_signed for answers in found)
    assert (parts.verifier.calls, parts.exchange.calls) == (1, 1)
