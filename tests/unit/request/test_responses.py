"""Which requests are chosen for a look at the upstream's response."""

import pytest

from extproc.request.responses import ResponseWatch
from extproc.signing.targets import Scope, Target
from support.credentials import opened
from support.pipelines import Parts, head_of


def chosen(watch, count, session, *, target="t", has_body=False, needs_body=False):
    """The numbers of the requests that were chosen; each response comes before the next request."""
    parts = Parts(
        targets=[
            Target(
                target, "h.example", Scope("us-east-1", "s"), payload="signed" if needs_body else "unsigned"
            )
        ]
    )
    admission = parts.pipeline.admission.admit(head_of(has_body=has_body))
    numbers = []
    for number in range(1, count + 1):
        if watch.begin(session, admission):
            watch.not_shown(admission)
            numbers.append(number)
    return numbers


def watching(observe, **more):
    return ResponseWatch(observe, credentials=None, **more)


def test_of_a_session_and_target_the_first_responses_and_then_ever_fewer():
    watch, one, other = watching("first"), opened("1.1.1"), opened("2.2.2")
    assert chosen(watch, 130, one) == [*range(1, 9), 16, 32, 64, 128]
    assert chosen(watch, 3, other) == [1, 2, 3]
    assert chosen(watch, 3, one, target="other") == [1, 2, 3]
    assert chosen(watch, 126, one) == [126]  # the 256th


@pytest.mark.parametrize(("observe", "numbers"), [("every", list(range(1, 21))), ("never", [])])
def test_every_response_or_none(observe, numbers):
    assert chosen(watching(observe), 20, opened()) == numbers


def test_no_body_is_held_for_it_unless_every_response_is_asked_for():
    assert chosen(watching("first"), 3, opened(), has_body=True) == []
    assert chosen(watching("first"), 3, opened(), has_body=True, needs_body=True) == [1, 2, 3]
    assert chosen(watching("every"), 3, opened(), has_body=True) == [1, 2, 3]


def test_no_more_streams_wait_for_responses_than_may():
    watch, session = watching("every", at_once=2), opened()
    admission = Parts().pipeline.admission.admit(head_of())
    assert [watch.begin(session, admission) for _ in range(3)] == [True, True, False]
    watch.not_shown(admission)
    assert watch.begin(session, admission)
