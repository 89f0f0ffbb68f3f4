"""A bounded cache in which one user cannot take the room of all others."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.caching.expiring_lru import FAIR_SHARE, ExpiringLRUCache
from support.clock import Clock

SIZE = 16


def made(clock=None):
    """Values are (owner, end)."""
    return ExpiringLRUCache(
        maxsize=SIZE,
        ttu=lambda _key, value, _now: value[1],
        timer=clock or Clock(),
        owner=lambda value: value[0],
    )


def test_one_user_with_ever_new_entries_evicts_only_its_own():
    cache = made()
    for name in "abcdefgh":
        cache[name] = (name, 1000)
    for number in range(1000):
        cache[number] = ("flood", 1000)
    assert all(name in cache for name in "abcdefgh")
    assert sorted(key for key in cache if isinstance(key, int)) == list(range(992, 1000))
    assert cache.evictions == 992
    assert len(cache) == SIZE


def test_of_its_own_the_least_recently_used_goes_first():
    cache = made()
    for number in range(SIZE):
        cache[number] = ("only one", 1000)
    assert cache[0]
    cache["more"] = ("only one", 1000)
    assert 0 in cache
    assert 1 not in cache


def test_a_newcomer_gets_room_from_whoever_used_it_least_recently():
    cache = made()
    for number in range(SIZE):
        cache[number] = ("flood", 1000)
    cache["new"] = ("newcomer", 1000)
    assert cache["new"]
    assert 0 not in cache


def test_what_has_ended_makes_room_before_anything_that_lives():
    clock = Clock()
    cache = made(clock)
    for number in range(SIZE):
        cache[number] = ("a", 10 if number == 5 else 1000)
    clock.now = 11
    cache["more"] = ("a", 1000)
    assert cache.evictions == 0
    assert len(cache) == SIZE


def test_nothing_is_kept_of_owners_whose_entries_have_ended():
    clock = Clock()
    cache = made(clock)
    for number in range(5000):
        clock.now = number
        cache[number] = (f"user{number}", number + 3)
    assert len(cache._owners) <= 200
    assert len(cache._keys) <= 200


keys, users = st.integers(0, 40), st.sampled_from("abc")
steps = st.lists(st.tuples(st.sampled_from(["put", "put", "get", "drop", "pass"]), keys, users), max_size=150)


@given(steps)
def test_whatever_happens_it_is_a_bounded_cache_and_no_small_user_loses_to_a_large_one(program):
    clock = Clock()
    cache, model = made(clock), {}
    for step, key, user in program:
        model = {k: v for k, v in model.items() if v[1] > clock.now}
        if step == "put":
            before = {k: v for k, v in model.items() if k in cache}
            mine = sum(value[0] == user for value in before.values())
            cache[key] = model[key] = (user, clock.now + 5)
            lost = [k for k in before if k not in cache]
            assert len(lost) <= 1
            if lost and mine > SIZE * FAIR_SHARE and key not in before:
                assert before[lost[0]][0] == user
        elif step == "get":
            assert cache.get(key) in (None, model.get(key))
        elif step == "drop" and key in cache:
            del cache[key]
            assert key not in cache
        elif step == "pass":
            clock.now += 1
        assert len(cache) <= SIZE
        for noted, owner in cache._owners.items():
            assert noted in cache._keys[owner]
        assert sum(map(len, cache._keys.values())) == len(cache._owners)
        assert {k for k in model if k in cache} <= cache._owners.keys()


def test_what_has_ended_of_its_own_does_not_count_as_evicted():
    clock = Clock()
    cache = made(clock)
    for number in range(4):
        cache[f"ended {number}"] = ("flood", 10)
    clock.now = 11
    for number in range(SIZE + 1):
        cache[number] = ("flood", 1000)
    assert sorted(cache) == list(range(1, SIZE + 1))
    assert cache.evictions == 1
    assert len(cache._owners) == SIZE
