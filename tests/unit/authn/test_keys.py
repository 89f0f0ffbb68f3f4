"""Admission of published keys, and the key set of an issuer over time."""

import asyncio
import dataclasses
import json
from itertools import pairwise

import pytest
import structlog

from extproc.authn.jwks import KeyDocumentError, parse_key_set
from extproc.authn.keys import RefreshPolicy
from extproc.errors import Denied, Reason
from support.tables import each_case
from support.tokens import (
    NOW,
    FakeClock,
    FakeKeySource,
    ec_key,
    key_set,
    key_store,
    private_jwk,
    public_jwk,
    rsa_key,
)

GOOD = {"kid": "good"}


def _good():
    return public_jwk(rsa_key("good"), **GOOD)


def _without(jwk, *names):
    return {name: value for name, value in jwk.items() if name not in names}


# Admission.


@each_case(
    ("jwk", "algorithms"),
    [
        (lambda: public_jwk(rsa_key()), {"RS256", "RS384", "RS512"}),
        (lambda: public_jwk(rsa_key(), alg="RS384"), {"RS384"}),
        (lambda: public_jwk(rsa_key(), use="sig", key_ops=["verify"]), {"RS256", "RS384", "RS512"}),
        (lambda: public_jwk(rsa_key(), key_ops=["sign", "verify"]), {"RS256", "RS384", "RS512"}),
        (lambda: public_jwk(rsa_key(), x5t="abc", unknown={"member": 1}), {"RS256", "RS384", "RS512"}),
        (lambda: public_jwk(ec_key("P-256")), {"ES256"}),
        (lambda: public_jwk(ec_key("P-384")), {"ES384"}),
        (lambda: public_jwk(ec_key("P-521"), alg="ES512"), {"ES512"}),
    ],
)
def test_a_signature_key_is_admitted_for_the_algorithms_of_its_type(jwk, algorithms):
    (key,) = parse_key_set(key_set({"kid": "k", **jwk()})).keys
    assert (key.kid, key.algorithms) == ("k", algorithms)


_REFUSED = {
    "1024-bit RSA": (lambda: public_jwk(rsa_key(bits=1024)), "1024 bits"),
    "RSA a bit too short": (lambda: public_jwk(rsa_key(bits=2040)), "2040 bits"),
    "RSA with exponent 1": (lambda: public_jwk(rsa_key(), e="AQ"), "cannot be parsed"),
    "RSA with an even exponent": (lambda: public_jwk(rsa_key(), e="Ag"), "cannot be parsed"),
    "RSA without modulus": (lambda: _without(public_jwk(rsa_key()), "n"), "cannot be parsed"),
    "RSA with a number for modulus": (lambda: public_jwk(rsa_key(), n=5), "cannot be parsed"),
    "RSA with an empty modulus": (lambda: public_jwk(rsa_key(), n=""), "cannot be parsed"),
    "symmetric": (lambda: {"kty": "oct", "k": "c2VjcmV0"}, "not RSA or EC"),
    "symmetric, calling itself RS256": (
        lambda: {"kty": "oct", "k": "c2VjcmV0", "alg": "RS256"},
        "not RSA or EC",
    ),
    "Ed25519": (lambda: {"kty": "OKP", "crv": "Ed25519", "x": "AA"}, "not RSA or EC"),
    "no type": (lambda: _without(public_jwk(rsa_key()), "kty"), "not RSA or EC"),
    "type in lower case": (lambda: public_jwk(rsa_key(), kty="rsa"), "not RSA or EC"),
    "a list for type": (lambda: public_jwk(rsa_key(), kty=["RSA"]), "not RSA or EC"),
    "private RSA": (lambda: private_jwk(rsa_key()), "private"),
    "private EC": (lambda: private_jwk(ec_key()), "private"),
    "RSA with its primes": (lambda: _without(private_jwk(rsa_key()), "d", "key_ops"), "private"),
    "RSA with one prime": (
        lambda: _without(private_jwk(rsa_key()), "d", "q", "dp", "dq", "qi", "key_ops"),
        "private",
    ),
    "for encryption": (lambda: public_jwk(rsa_key(), use="enc"), "not for signatures"),
    "use is a list": (lambda: public_jwk(rsa_key(), use=["sig"]), "not for signatures"),
    "to sign only": (lambda: public_jwk(rsa_key(), key_ops=["sign"]), "key_ops"),
    "to encrypt only": (lambda: public_jwk(rsa_key(), key_ops=["encrypt"]), "key_ops"),
    "no operations": (lambda: public_jwk(rsa_key(), key_ops=[]), "key_ops"),
    "operations as a text": (lambda: public_jwk(rsa_key(), key_ops="verify"), "key_ops"),
    "an unsupported curve": (lambda: public_jwk(ec_key("secp256k1")), "curve"),
    "an unknown curve": (lambda: public_jwk(ec_key(), crv="P-999"), "cannot be parsed"),
    "a point of another curve": (lambda: public_jwk(ec_key("P-384"), crv="P-256"), "cannot be parsed"),
    "a point off the curve": (
        lambda: {**public_jwk(ec_key()), "y": public_jwk(ec_key(name="second"))["y"]},
        "cannot be parsed",
    ),
    "EC without y": (lambda: _without(public_jwk(ec_key()), "y"), "cannot be parsed"),
    "RSA for ES256": (lambda: public_jwk(rsa_key(), alg="ES256"), "alg"),
    "RSA for HS256": (lambda: public_jwk(rsa_key(), alg="HS256"), "alg"),
    "RSA for PS256": (lambda: public_jwk(rsa_key(), alg="PS256"), "alg"),
    "RSA for encryption by alg": (lambda: public_jwk(rsa_key(), alg="RSA-OAEP"), "alg"),
    "RSA for none": (lambda: public_jwk(rsa_key(), alg="none"), "alg"),
    "P-256 for ES384": (lambda: public_jwk(ec_key(), alg="ES384"), "alg"),
    "alg in lower case": (lambda: public_jwk(rsa_key(), alg="rs256"), "alg"),
    "alg is a list": (lambda: public_jwk(rsa_key(), alg=["RS256"]), "alg"),
    "kid is a number": (lambda: public_jwk(rsa_key(), kid=1), "string kid"),
    "kid is a list": (lambda: public_jwk(rsa_key(), kid=["a"]), "string kid"),
    "kid is long": (lambda: public_jwk(rsa_key(), kid="k" * 513), "string kid"),
    "not an object": (lambda: "RSA", "not a JWK"),
    "null": (lambda: None, "not a JWK"),
}


@each_case(("jwk", "why"), list(_REFUSED.values()), ids=list(_REFUSED))
def test_an_unusable_key_is_left_out_and_the_others_stay(jwk, why):
    admitted = parse_key_set(key_set(jwk(), _good()))
    assert [key.kid for key in admitted.keys] == ["good"]
    (refused,) = admitted.refused
    assert refused.startswith("keys[0]: ")
    assert why in refused


@each_case("jwk", [case[0] for case in _REFUSED.values()], ids=list(_REFUSED))
def test_a_document_without_a_usable_key_is_refused(jwk):
    with pytest.raises(KeyDocumentError, match="no usable key"):
        parse_key_set(key_set(jwk()))


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="HTML"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="no keys"),
        pytest.param(b'{"keys": null}', id="null"),
        pytest.param(b'{"keys": {}}', id="an object"),
        pytest.param(b'{"keys": []}', id="no key"),
        pytest.param(b'{"keys": [], "keys": []}', id="two lists"),
        pytest.param(b'{"KEYS": [1]}', id="another case"),
        pytest.param(b"\xff", id="not UTF-8"),
    ],
)
def test_what_is_no_key_set_is_refused(document):
    with pytest.raises(KeyDocumentError):
        parse_key_set(document)


def test_a_key_set_is_bounded_in_number():
    jwk = public_jwk(ec_key())
    assert len(parse_key_set(key_set(*({**jwk, "kid": str(n)} for n in range(200)))).keys) == 200
    with pytest.raises(KeyDocumentError, match="at most 200"):
        parse_key_set(key_set(*({**jwk, "kid": str(n)} for n in range(201))))


def test_a_kid_used_twice_names_no_key():
    twins = [public_jwk(rsa_key(), kid="twin"), public_jwk(ec_key(), kid="twin")]
    keys = parse_key_set(key_set(twins[0], _good(), twins[1]))
    assert [key.kid for key in keys.keys] == ["good"]
    assert keys.refused == ("keys[0]: kid is used twice", "keys[2]: kid is used twice")


def test_a_kid_used_by_an_unusable_key_too_names_no_key():
    keys = parse_key_set(
        key_set({"kty": "oct", "k": "AA", "kid": "twin"}, public_jwk(rsa_key(), kid="twin"), _good())
    )
    assert [key.kid for key in keys.keys] == ["good"]


def test_keys_without_a_kid_serve_only_tokens_without_one_and_only_if_no_other_fits():
    nameless = [public_jwk(rsa_key()), public_jwk(ec_key())]
    keys = parse_key_set(key_set(*nameless))
    assert keys.find(None, "RS256") is keys.keys[0]
    assert keys.find(None, "ES256") is keys.keys[1]
    assert keys.find("any", "RS256") is None
    two = parse_key_set(key_set(*nameless, public_jwk(rsa_key("second"))))
    assert two.find(None, "RS256") is None


def test_refusals_name_no_key_material():
    jwk = private_jwk(rsa_key())
    refused = parse_key_set(key_set(jwk, _good())).refused
    assert not any(jwk[member] in " ".join(refused) for member in ("n", "d", "p", "q"))


# The key set over time.


def _document(*kids):
    return key_set(*(public_jwk(rsa_key(kid), kid=kid) for kid in kids))


def _at_work(source, **policy):
    clock = FakeClock()
    return key_store(source, clock=clock, **policy), clock


async def _reason(store, kid, algorithm="RS256"):
    with pytest.raises(Denied) as caught:
        await store.find(kid, algorithm)
    return caught.value.reason


async def _settle(source, store):
    """Let a hanging fetch end, so that no task outlives the test."""
    source.release()
    await store.refresh()


async def test_the_first_lookup_fetches_and_later_ones_do_not():
    store, clock = _at_work(source := FakeKeySource(_document("a")))
    for _ in range(3):
        assert (await store.find("a", "RS256")).kid == "a"
        clock.advance(40)
    assert source.fetches == 1
    assert store.failure is None


async def test_lookups_at_once_share_one_fetch():
    store, _ = _at_work(source := FakeKeySource(_document("a")), wait=5)
    source.hang()
    lookups = [asyncio.create_task(store.find("a", "RS256")) for _ in range(50)]
    await asyncio.sleep(0)
    source.release()
    assert {key.kid for key in await asyncio.gather(*lookups)} == {"a"}
    assert source.fetches == 1


async def test_a_cancelled_lookup_does_not_cancel_the_fetch_of_the_others():
    store, _ = _at_work(source := FakeKeySource(_document("a")), wait=5)
    source.hang()
    first, second = (asyncio.create_task(store.find("a", "RS256")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    source.release()
    assert (await second).kid == "a"
    assert source.fetches == 1


async def test_a_known_key_never_waits_for_a_hanging_refresh():
    store, _ = _at_work(source := FakeKeySource(_document("a")), wait=60)
    await store.refresh()
    source.hang()
    refresh = store.refresh()
    async with asyncio.timeout(0.5):
        for kid in ("a", None):
            assert (await store.find(kid, "RS256")).kid == "a"
    assert not refresh.done()
    await _settle(source, store)


async def test_a_known_key_with_an_algorithm_that_is_not_its_own_fetches_nothing():
    store, clock = _at_work(source := FakeKeySource(_document("a")))
    await store.refresh()
    clock.advance(1000)
    assert await _reason(store, "a", "ES256") is Reason.KEY_UNKNOWN
    assert source.fetches == 1


async def test_an_unknown_key_is_waited_for_so_long_and_no_longer():
    store, clock = _at_work(source := FakeKeySource(_document("a")), wait=0.02)
    await store.refresh()
    clock.advance(31)
    source.hang()
    async with asyncio.timeout(10):  # the store's own patience is less than the 30 s usual here
        assert await _reason(store, "new") is Reason.KEY_UNKNOWN
    await _settle(source, store)


@each_case("state", ["healthy", "failing", "hanging"])
@each_case("primed", [True, False], ids=["with keys", "without keys"])
async def test_1000_unknown_kids_cause_one_fetch_a_cooldown(state, primed):
    # Impatient only where nothing comes: else a busy machine's fetch, which has a thread, would be given up.
    patience = 0.02 if state == "hanging" else 60
    store, clock = _at_work(source := FakeKeySource(_document("a")), cooldown=30, wait=patience)
    if primed:
        await store.refresh()
        clock.advance(31)
    before = source.fetches
    if state == "failing":
        source.error = KeyDocumentError("HTTP status 500")
    elif state == "hanging":
        source.hang()
    for round_number in (1, 2, 3):
        reasons = await asyncio.gather(*(_reason(store, f"{round_number}-{n}") for n in range(1000 // 3 + 1)))
        expected = Reason.KEY_UNKNOWN if primed or state == "healthy" else Reason.KEYS_UNAVAILABLE
        assert set(reasons) == {expected}
        # A fetch that hangs is the only one, however long it takes.
        assert source.fetches - before == (1 if state == "hanging" else round_number)
        clock.advance(29.9)
        assert await _reason(store, "within the cooldown") is expected
        assert source.fetches - before == (1 if state == "hanging" else round_number)
        clock.advance(0.1)
    await _settle(source, store)


async def test_the_cooldown_holds_one_after_another_too():
    store, _ = _at_work(source := FakeKeySource(_document("a")))
    source.error = KeyDocumentError("HTTP status 500")
    for n in range(500):
        assert await _reason(store, f"{n}") is Reason.KEYS_UNAVAILABLE
    assert source.fetches == 1


async def test_a_clock_set_back_does_not_hold_up_fetching():
    store, clock = _at_work(source := FakeKeySource(_document("a")))
    await store.refresh()
    clock.advance(-86_400)
    source.body = _document("a", "b")
    assert (await store.find("b", "RS256")).kid == "b"


async def test_a_fetch_that_never_ends_counts_as_failed():
    store, _ = _at_work(source := FakeKeySource(_document("a")), fetch_limit=0.01)
    source.hang()
    await store.refresh()
    assert store.failure == "TimeoutError"
    store._policy = dataclasses.replace(store._policy, fetch_limit=10.0)  # for a machine that has other work
    source.release()
    await store.refresh()
    assert store.failure is None


async def test_a_rotated_key_is_found_on_first_use():
    store, clock = _at_work(source := FakeKeySource(_document("a")))
    await store.find("a", "RS256")
    source.body = _document("a", "b")
    assert await _reason(store, "b") is Reason.KEY_UNKNOWN  # a moment after the last fetch
    clock.advance(30)
    assert (await store.find("b", "RS256")).kid == "b"
    assert source.fetches == 2


async def test_a_removed_key_is_gone_after_the_refresh():
    store, _ = _at_work(source := FakeKeySource(_document("a", "b")))
    removed = await store.find("b", "RS256")
    source.body = _document("a")
    await store.refresh()
    assert await _reason(store, "b") is Reason.KEY_UNKNOWN
    assert removed.thumbprint not in store.current().thumbprints


async def test_a_kid_used_again_means_the_new_key_only():
    store, _ = _at_work(source := FakeKeySource(_document("a")))
    old = await store.find("a", "RS256")
    source.body = key_set(public_jwk(rsa_key("b"), kid="a"))
    await store.refresh()
    new = await store.find("a", "RS256")
    assert new.thumbprint != old.thumbprint
    assert old.thumbprint not in store.current().thumbprints
    assert new.public_key.public_numbers() == rsa_key("b").public_key().public_numbers()


@each_case(
    "body",
    [None, b"", b"<html>", b"{}", b'{"keys": []}', key_set({"kty": "oct", "k": "AA"}), b'{"keys": [1], "keys": [2]}'],
)  # fmt: skip
async def test_a_bad_document_never_evicts_good_keys(body):
    store, clock = _at_work(source := FakeKeySource(_document("a")))
    await store.refresh()
    fetched_at, source.body = store.fetched_at, body
    clock.advance(100)
    await store.refresh()
    assert (await store.find("a", "RS256")).kid == "a"
    assert store.fetched_at == fetched_at
    assert store.failure
    source.body = _document("b")
    await store.refresh()
    assert (await store.find("b", "RS256")).kid == "b"
    assert store.failure is None


@pytest.mark.parametrize(
    "error", [KeyDocumentError("HTTP status 500"), OSError("boom"), RuntimeError("a bug")]
)
async def test_whatever_a_source_raises_the_good_keys_stay(error):
    store, _ = _at_work(source := FakeKeySource(_document("a")))
    await store.refresh()
    source.error = error
    await store.refresh()
    assert (await store.find("a", "RS256")).kid == "a"
    assert store.failure in ("HTTP status 500", "OSError", "RuntimeError")


async def test_keys_grow_too_stale_to_use():
    store, clock = _at_work(source := FakeKeySource(_document("a")), max_staleness=1000)
    await store.refresh()
    source.error = KeyDocumentError("HTTP status 500")
    clock.advance(1000)
    assert (await store.find("a", "RS256")).kid == "a"
    clock.advance(1)
    assert store.current() is None
    assert await _reason(store, "a") is Reason.KEYS_UNAVAILABLE
    source.error = None
    clock.advance(30)
    assert (await store.find("a", "RS256")).kid == "a"


async def test_the_operator_learns_why_there_are_no_keys():
    store, _ = _at_work(source := FakeKeySource())
    source.error = KeyDocumentError("HTTP status 500")
    with pytest.raises(Denied) as caught:
        await store.find("a", "RS256")
    assert caught.value.detail == "no keys of https://idp.example: HTTP status 500"


@pytest.mark.parametrize(
    ("max_age", "due_after"), [(None, 300), (0, 60), (59, 60), (900, 900), (3600, 3600), (10**9, 3600)]
)
async def test_the_providers_freshness_is_honoured_within_bounds(monkeypatch, max_age, due_after):
    store, clock = _at_work(source := FakeKeySource(_document("a"), max_age=max_age))
    assert await _next_scheduled_fetch(monkeypatch, store, source, clock) == due_after


async def test_at_start_a_failure_is_retried_soon_then_ever_later_up_to_the_cooldown(monkeypatch):
    store, clock = _at_work(source := FakeKeySource(None), cooldown=30)
    times = await _scheduled_fetches(monkeypatch, store, source, clock, count=8)
    assert [after - before for before, after in pairwise(times)] == [1, 2, 4, 8, 16, 30, 30]


async def test_a_failure_with_good_keys_at_hand_is_retried_after_the_cooldown(monkeypatch):
    store, clock = _at_work(source := FakeKeySource(_document("a")), cooldown=30)
    await store.refresh()
    source.body = None
    await store.refresh()
    times = await _scheduled_fetches(monkeypatch, store, source, clock, count=4)
    assert [after - before for before, after in pairwise([NOW, *times])] == [30, 30]


async def test_quick_retries_at_start_do_not_let_unknown_kids_fetch_more(monkeypatch):
    store, _ = _at_work(source := FakeKeySource(None))
    for n in range(100):
        assert await _reason(store, f"{n}") is Reason.KEYS_UNAVAILABLE
    assert source.fetches == 1


async def test_a_clock_set_back_does_not_hold_up_the_schedule(monkeypatch):
    store, clock = _at_work(source := FakeKeySource(_document("a")))
    await store.refresh()
    clock.advance(-86_400)
    task = asyncio.create_task(store.keep_fresh())
    await asyncio.sleep(0.01)
    assert source.fetches == 2
    task.cancel()


async def _next_scheduled_fetch(monkeypatch, store, source, clock):
    """Seconds from the first scheduled fetch to the second."""
    first, second = await _scheduled_fetches(monkeypatch, store, source, clock, count=2)
    return second - first


async def _scheduled_fetches(monkeypatch, store, source, clock, *, count):
    """Run the schedule until ``count`` fetches have been made in all; returns when its own were made."""
    really_sleep, naps, times, fetch = asyncio.sleep, [], [], source.fetch

    async def nap(seconds):
        if seconds:
            naps.append(seconds)
            clock.advance(seconds)
        await really_sleep(0)

    async def timed_fetch():
        times.append(clock())
        return await fetch()

    monkeypatch.setattr(asyncio, "sleep", nap)
    monkeypatch.setattr(source, "fetch", timed_fetch)
    task = asyncio.create_task(store.keep_fresh())
    while source.fetches < count:
        await really_sleep(0)
    task.cancel()
    assert max(naps) <= 5
    return times


def test_the_default_schedule_is_pinned():
    assert RefreshPolicy() == RefreshPolicy(
        interval=300,
        shortest=60,
        longest=3600,
        cooldown=30,
        first_retry=1,
        max_staleness=86_400,
        wait=5,
        fetch_limit=30,
    )


def test_keys_do_not_show_in_texts():
    (key,) = parse_key_set(key_set(_good())).keys
    assert json.loads(key_set(_good()))["keys"][0]["n"] not in repr(key)
    assert key.thumbprint.hex() not in repr(key)


async def test_the_age_of_keys_is_that_of_their_last_fetch():
    clock = FakeClock()
    store = key_store(clock=clock)
    assert store.age == float("inf")
    await store.refresh()
    clock.advance(7)
    assert store.age == 7


async def test_a_key_that_is_left_out_is_named_in_the_log():
    source = FakeKeySource(key_set(_good(), {"kty": "oct", "kid": "hunter2", "k": "c2VjcmV0"}))
    with structlog.testing.capture_logs() as logs:
        await key_store(source).refresh()
    assert [entry["event"] for entry in logs] == ["jwks_key_refused"]
    assert "c2VjcmV0" not in str(logs)
