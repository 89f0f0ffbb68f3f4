"""Which requests are chosen for a look at their answers."""

import pytest

from extproc.request.response_sampling import AnswerWatch
from extproc.values import TokenDigest

ONE, OTHER = TokenDigest(b"1" * 32), TokenDigest(b"2" * 32)


def chosen(watch, count, *, digest=ONE, target="t", holds_body=False):
    """The numbers of the requests that were chosen; each answer comes before the next request."""
    numbers = []
    for number in range(1, count + 1):
        if watch.begin(digest, target, holds_body=holds_body):
            watch.end()
            numbers.append(number)
    return numbers


def test_of_a_session_and_target_the_first_answers_and_then_ever_fewer():
    watch = AnswerWatch("first", max_sessions=10)
    assert chosen(watch, 130) == [*range(1, 9), 16, 32, 64, 128]
    assert chosen(watch, 3, digest=OTHER) == [1, 2, 3]
    assert chosen(watch, 3, target="other") == [1, 2, 3]
    assert chosen(watch, 126) == [126]  # the 256th


@pytest.mark.parametrize(("which", "numbers"), [("every", list(range(1, 21))), ("never", [])])
def test_every_answer_or_none(which, numbers):
    assert chosen(AnswerWatch(which, max_sessions=10), 20) == numbers


def test_no_body_is_held_for_it_unless_every_answer_is_asked_for():
    assert chosen(AnswerWatch("first", max_sessions=10), 3, holds_body=True) == []
    assert chosen(AnswerWatch("every", max_sessions=10), 3, holds_body=True) == [1, 2, 3]


def test_sessions_are_bounded():
    watch = AnswerWatch("first", max_sessions=2)
    for number in range(100):
        watch.begin(TokenDigest(bytes([number]) * 32), "t", holds_body=False)
    assert len(watch._requests) <= 4


def test_no_more_streams_wait_for_answers_than_may():
    watch = AnswerWatch("every", max_sessions=10, at_once=2)
    assert [watch.begin(ONE, "t", holds_body=False) for _ in range(3)] == [True, True, False]
    watch.end()
    assert watch.begin(ONE, "t", holds_body=False)
