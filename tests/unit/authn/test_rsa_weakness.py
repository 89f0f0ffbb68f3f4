"""RSA keys that must not verify anything: their private key can be worked out, or they cost too much."""

import json
import math
import random
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.authn.jwks import KeyDocumentError, parse_key_set
from extproc.authn.rsa_weakness import weakness
from support.tables import each_case
from support.tokens import rsa_key

RANDOM = random.Random(17)
E = 65537


SMALL = math.prod(n for n in range(2, 2000) if all(n % d for d in range(2, math.isqrt(n) + 1)))


def rough(bits, start=None):
    """A number without small factors, from ``start`` on: as good as a prime here, and found at once."""
    found = RANDOM.getrandbits(bits) | 3 << (bits - 2) | 1 if start is None else start | 1
    while math.gcd(found, SMALL) != 1:
        found += 2
    return found


def roca(bits):
    """As the library of Infineon made primes: k * M + (65537^a mod M), M the product of the first primes."""
    m = math.prod(n for n in range(2, 702) if all(n % d for d in range(2, n)))
    while True:
        found = (RANDOM.getrandbits(bits - m.bit_length()) + 1) * m + pow(E, RANDOM.getrandbits(200), m)
        if math.gcd(found, SMALL) == 1:
            return found


def modulus(bits=2048):
    return rsa_key(bits=bits).public_key().public_numbers().n


WEAK = {
    "even": (lambda: modulus() + 1, E),
    "twice an odd number": (lambda: 2 * rough(2047), E),
    "a multiple of three": (lambda: 3 * rough(2047), E),
    "a multiple of 1999": (lambda: 1999 * rough(2040), E),
    "a square": (lambda: rough(1024) ** 2, E),
    "two factors in a row": (lambda: (p := rough(1024)) * rough(1024, p + 2), E),
    "two factors close to each other": (lambda: (p := rough(1024)) * rough(1024, p + 2**512), E),
    "a ROCA key": (lambda: roca(1040) * roca(1040), E),
    "2047 bits": (lambda: modulus() >> 1 | 1, E),
    "8193 bits": (lambda: 1 << 8192 | 1, E),
    "5.9 million bits": (lambda: 1 << 5_900_000 | 1, E),
    "zero": (lambda: 0, E),
    "exponent 1": (modulus, 1),
    "exponent 0": (modulus, 0),
    "a negative exponent": (modulus, -3),
    "an even exponent": (modulus, 65536),
    "exponent 2^32 + 1": (modulus, 2**32 + 1),
    "an exponent of 2041 bits": (modulus, 1 << 2040 | 1),
}


@each_case("what", WEAK)
def test_a_weak_key_is_found(what):
    number, exponent = WEAK[what]
    found = weakness(number(), exponent)
    assert found
    for part, why in (
        ("factors", "close"),
        ("a square", "close"),
        ("ROCA", "ROCA"),
        ("multiple", "small factor"),
    ):
        assert part not in what or why in found


@each_case("exponent", [3, 5, 17, 257, 65537, 2**32 - 1])
def test_a_sound_key_is_not(exponent):
    assert weakness(modulus(), exponent) is None


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_keys_that_are_made_today_are_sound(bits):
    assert weakness(modulus(bits), E) is None


def number_text(number):
    return urlsafe_b64encode(number.to_bytes(max(1, (number.bit_length() + 7) // 8))).rstrip(b"=").decode()


@each_case("what", [name for name, (_, exponent) in WEAK.items() if exponent >= 0])
def test_such_a_key_is_not_admitted_from_a_key_set(what):
    number, exponent = WEAK[what]
    jwk = {"kty": "RSA", "kid": "k", "n": number_text(number()), "e": number_text(exponent)}
    sound = {"kty": "RSA", "kid": "good", "n": number_text(modulus()), "e": "AQAB"}
    found = parse_key_set(json.dumps({"keys": [jwk, sound]}).encode())
    assert [key.kid for key in found.keys] == ["good"]
    assert len(found.refused) == 1
    assert len(found.refused[0]) < 200


@each_case("member", ["n", "e", "x", "y"])
def test_a_number_too_long_to_be_one_never_reaches_the_parser(member):
    jwk = {"kty": "RSA", "n": number_text(modulus()), "e": "AQAB", member: "A" * 1401}
    with pytest.raises(KeyDocumentError, match="too long"):
        parse_key_set(json.dumps({"keys": [jwk]}).encode())


def test_the_longest_key_that_is_accepted_may_have_leading_zeros():
    number = rough(64) << 8192 - 64 | 1
    while weakness(number, E):
        number += 2
    text = urlsafe_b64encode(bytes(4) + number.to_bytes(1024)).rstrip(b"=").decode()
    jwk = {"kty": "RSA", "kid": "k", "n": text, "e": "AQAB"}
    assert parse_key_set(json.dumps({"keys": [jwk]}).encode()).keys[0].public_key.key_size == 8192


def test_a_document_of_very_many_values_is_refused_before_any_key_is_made():
    document = {
        "keys": [{"kty": "RSA", "kid": "k", "n": number_text(modulus()), "e": "AQAB"}],
        "x": [0] * 10_000,
    }
    with pytest.raises(KeyDocumentError):
        parse_key_set(json.dumps(document).encode())


@given(st.integers(), st.integers())
def test_any_numbers_may_be_asked_about(number, exponent):
    assert weakness(number, exponent)  # too short, all of them
