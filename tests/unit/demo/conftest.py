"""The demo's parts, with RSA keys that are made once: making one takes as long as fifty tests."""

import functools
import itertools

import pytest

from extproc.demo import idp_keys

_make = idp_keys.rsa.generate_private_key


@functools.cache
def _key(_number):
    return _make(public_exponent=65537, key_size=2048)


@pytest.fixture(autouse=True)
def keys_made_before(monkeypatch):
    """The keys of a test differ from each other; the next test has the same ones."""
    numbers = itertools.count()
    monkeypatch.setattr(idp_keys.rsa, "generate_private_key", lambda **_: _key(next(numbers)))
