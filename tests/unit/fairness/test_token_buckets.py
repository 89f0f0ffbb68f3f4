from hypothesis import given
from hypothesis import strategies as st

from extproc.fairness.token_buckets import SECOND, Rate, TokenBuckets
from support.clock import Clock

HALF_A_SECOND = Rate(2, 1, 3)


def buckets(**options):
    clock = Clock()
    clock.now = 5
    return clock, TokenBuckets(timer=clock, **options)


def test_a_full_bucket_has_a_burst_and_gets_tokens_back_at_its_rate():
    clock, made = buckets()
    assert [made.take([("a", HALF_A_SECOND)]) for _ in range(4)] == [None, None, None, (0, SECOND // 2)]
    clock.now += SECOND // 2 - 1
    assert made.take([("a", HALF_A_SECOND)]) == (0, 1)
    clock.now += 1
    assert made.take([("a", HALF_A_SECOND)]) is None
    assert made.take([("a", HALF_A_SECOND)]) == (0, SECOND // 2)
    assert made.take([("b", HALF_A_SECOND)]) is None


def test_one_empty_bucket_takes_from_none():
    _, made = buckets()
    scarce = Rate(1, 60, 1)
    wanted = [("a", HALF_A_SECOND), ("b", scarce)]
    assert made.take(wanted) is None
    assert made.take(wanted) == (1, 60 * SECOND)
    assert [made.take(wanted[:1]) for _ in range(3)] == [None, None, (0, SECOND // 2)]


def test_nothing_wanted_is_there():
    assert buckets()[1].take([]) is None


def test_the_memory_is_bounded():
    _, made = buckets(size=2)
    for key in ("a", "b", "a", "c"):
        assert made.take([(key, Rate(1, 1, 2))]) is None
    assert len(made) == 2
    assert made.take([("a", Rate(1, 1, 2))]) == (0, SECOND)  # the most recently used stay


@given(
    rate=st.builds(Rate, st.integers(1, 50), st.sampled_from([1, 60, 3600]), st.integers(1, 20)),
    pauses=st.lists(st.integers(0, 5 * SECOND), max_size=60),
)
def test_no_span_of_time_has_more_than_burst_and_rate(rate, pauses):
    clock, made = buckets()
    taken = []
    for pause in pauses:
        clock.now += pause
        if made.take([("a", rate)]) is None:
            taken.append(clock.now)
    for first, began in enumerate(taken):
        for last, ended in enumerate(taken[first:]):
            assert last + 1 <= rate.burst + (ended - began) * rate.count // (rate.seconds * SECOND)
