"""RSA public keys whose private key can be computed, or that are too slow to use.

With the private key anyone can issue tokens in the provider's name. Not detected: keys that share a prime
with another key, and a modulus that is itself a prime.
"""

import math

MIN_BITS = 2048
"""RFC 7518 3.3."""

MAX_BITS = 8192
"""Twice the longest key that providers use. Verifying takes time by the square of the length."""

MAX_EXPONENT = 2**32
"""Nearly all keys have 65537. A long exponent makes verifying as slow as signing."""

_FERMAT_STEPS = 100


def weakness(modulus: int, exponent: int) -> str | None:
    """Return what is wrong with a public key, or None."""
    bits = modulus.bit_length()
    if not MIN_BITS <= bits <= MAX_BITS:
        return f"RSA key of {bits} bits; {MIN_BITS} to {MAX_BITS} are accepted"
    if not (3 <= exponent < MAX_EXPONENT and exponent % 2):  # noqa: PLR2004 - 1 would sign nothing
        return "RSA exponent that is not odd, from 3 to 2^32"
    if math.gcd(modulus, _SMALL_PRIMES) != 1:  # an even modulus among others
        return "RSA modulus with a small factor"
    if _has_close_factors(modulus):
        return "RSA modulus of two primes close to each other"
    if _is_roca(modulus):
        return "RSA key of a generator with a known weakness (ROCA)"
    return None


def _primes(limit: int) -> list[int]:
    return [n for n in range(2, limit) if all(n % d for d in range(2, math.isqrt(n) + 1))]


_SMALL_PRIMES = math.prod(_primes(2000))


def _has_close_factors(modulus: int) -> bool:
    """Try a few steps of Fermat's factorization: CVE-2022-26320, https://eprint.iacr.org/2023/026."""
    mean = math.isqrt(modulus)
    for candidate in range(mean, mean + _FERMAT_STEPS):
        rest = candidate * candidate - modulus
        if rest >= 0 and math.isqrt(rest) ** 2 == rest:
            return True
    return False


def _powers(prime: int) -> frozenset[int]:
    """Return all powers of 65537 modulo a prime."""
    found, power = set(), 1
    while power not in found:
        found.add(power)
        power = power * 65537 % prime
    return frozenset(found)


_ROCA = [(prime, _powers(prime)) for prime in _primes(168) if prime > 2]  # noqa: PLR2004 - odd ones


def _is_roca(modulus: int) -> bool:
    """Return whether a modulus has the form of CVE-2017-15361.

    Its primes, and so their product, are powers of 65537 modulo all small primes. One in about 2^27 other
    keys has that form by chance. Nemec, Sys, Svenda, Klinec, Matyas: The Return of Coppersmith's Attack,
    CCS 2017, section 3.1.
    """
    return all(modulus % prime in powers for prime, powers in _ROCA)
