"""A cache that two threads use at once keeps each key with its own value."""

import sys
import threading

import pytest
from cachetools import LRUCache, TTLCache

from extproc.caching.locked import LockedCache


@pytest.fixture
def eager_switching():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_switching")
def test_threads_that_store_evict_and_look_up_never_see_anothers_value():
    cache = LockedCache(LRUCache(50))
    wrong = []

    def work(seed):
        try:
            for step in range(4000):
                key = (seed * 7 + step * 13) % 120
                cache.put(key, f"value of {key}")
                value = cache.get((key + 1) % 120)
                if value not in (None, f"value of {(key + 1) % 120}"):
                    wrong.append(value)
                if step % 50 == 0:
                    cache.drop(key)
                    cache.expire()
                    wrong.extend(pair for pair in cache.items() if pair[1] != f"value of {pair[0]}")
        except Exception as error:  # noqa: BLE001 - a thread's failure is the test's
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(cache) <= 50


def test_a_key_is_only_dropped_while_it_has_the_value_that_is_meant():
    cache = LockedCache(LRUCache(2))
    old, new = object(), object()
    cache.put("key", old)
    cache.put("key", new)
    assert not cache.drop("key", only=old)
    assert cache.get("key") is new
    assert cache.drop("key", only=new)
    assert not cache.drop("key")


def test_what_is_there_already_is_kept():
    cache = LockedCache(LRUCache(2))
    assert cache.put_if_absent("key", "first") == "first"
    assert cache.put_if_absent("key", "second") == "first"


def test_what_has_ended_is_gone():
    now = [0.0]
    cache = LockedCache(TTLCache(2, ttl=1, timer=lambda: now[0]))
    cache.put("key", "value")
    now[0] = 2.0
    assert cache.get("key") is None
    cache.expire()
    assert len(cache) == 0


def test_nobody_iterates_over_what_other_threads_change():
    with pytest.raises(TypeError, match="a copy"):
        iter(LockedCache(LRUCache(2)))
