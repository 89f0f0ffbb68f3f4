"""What is asked for stays, what is not goes, and it never grows beyond its size."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.caching.two_generations import TwoGenerationCache
from support.clock import Clock


def test_what_is_asked_for_stays_and_what_is_not_goes():
    clock = Clock()
    memory = TwoGenerationCache(size=10, seconds=60.0, timer=clock)
    memory.put("used", 1)
    memory.put("unused", 2)
    for minute in range(1, 6):
        clock.now = 60.5 * minute
        memory.age()
        assert memory.get("used") == 1
    assert memory.get("unused") is None
    assert len(memory) == 1


def test_after_a_long_silence_nothing_is_left():
    clock = Clock()
    memory = TwoGenerationCache(size=10, seconds=60.0, timer=clock)
    memory.put("used", 1)
    clock.now = 200.0
    memory.age()
    assert memory.get("used") is None
    assert len(memory) == 0


def test_it_ages_without_lookups():
    clock = Clock()
    memory = TwoGenerationCache(size=10, seconds=60.0, timer=clock)
    memory.put("used", 1)
    kept = []
    for minute in range(4):
        clock.now = 60.5 * minute
        memory.age()
        kept.append(len(memory))
    assert kept == [1, 1, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 30), st.booleans()), max_size=300))
def test_it_is_bounded_and_gives_back_what_was_put(steps):
    clock = Clock()
    memory = TwoGenerationCache(size=4, seconds=60.0, timer=clock)
    for key, seconds, put in steps:
        clock.now += seconds
        memory.age()
        if put:
            memory.put(key, f"value of {key}")
            assert memory.get(key) == f"value of {key}"
        else:
            assert memory.get(key) in (None, f"value of {key}")
        assert len(memory) <= 8
