"""Seeded mutations of valid tokens: none is accepted, nothing but ``Denied`` is raised, memory stays flat.

``EXTPROC_MUTATIONS=100000 python -m pytest -s tests/unit/authn/test_mutations.py`` runs more of them.
"""

import base64
import gc
import json
import os
import random
import resource
import string
from pathlib import Path

import pytest

from extproc.errors import Denied, Reason
from support.tokens import (
    FakeKeySource,
    claims,
    ec_key,
    header,
    key_set,
    key_store,
    make_verifier,
    mint,
    public_jwk,
    rsa_key,
    segment,
    trusted_issuer,
)

MUTATIONS = int(os.environ.get("EXTPROC_MUTATIONS", "8000"))
SEED = 20_260_301
_ALPHABET = string.ascii_letters + string.digits + "-_.=+/ \x00\n,é\u212a\ud800"
_VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**53 + 1,
    2**70,
    1.5,
    "",
    "x",
    "RS256",
    "none",
    "HS256",
    [],
    [[]],
    {},
    {"a": 1},
]
_NAMES = [
    "alg",
    "typ",
    "kid",
    "crit",
    "b64",
    "jku",
    "jwk",
    "x5u",
    "zip",
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
]


def _characters(seeded, token):
    at = seeded.randrange(len(token))
    return seeded.choice(
        [
            token[:at] + seeded.choice(_ALPHABET) + token[at + 1 :],
            token[:at] + token[at + 1 :],
            token[:at] + seeded.choice(_ALPHABET) + token[at:],
            token[:at],
            token[at:],
            token[:at] + token[at:].swapcase(),
            token + token[at:],
        ]
    )


def _bits(seeded, token):
    """Some bits of the decoded header, claims or signature."""
    parts = [bytearray(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")]
    part = seeded.choice(parts)
    for _ in range(seeded.randint(1, 4)):
        part[seeded.randrange(len(part))] ^= 1 << seeded.randrange(8)
    return ".".join(segment(bytes(part)) for part in parts)


def _members(seeded, token):
    """A member of the header or of the claims: changed, added, left out or there twice."""
    parts = [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]
    which = seeded.randrange(2)
    content = json.loads(parts[which])
    name = seeded.choice([*content, *_NAMES])
    if seeded.random() < 0.2:
        content.pop(name, None)
    else:
        content[name] = seeded.choice(_VALUES)
    raw = json.dumps(content).encode()
    if seeded.random() < 0.2:
        raw = raw[:-1] + b', "' + name.encode() + b'": 1}'
    parts[which] = raw
    return ".".join(segment(part) for part in parts)


def _segments(seeded, token):
    parts = token.split(".")
    seeded.shuffle(parts)
    return ".".join(parts[: seeded.randint(0, 3)] + [seeded.choice(parts)] * seeded.randint(0, 3))


def _resident_kib():
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def test_no_mutation_of_a_valid_token_is_accepted_and_memory_stays_flat():
    seeded = random.Random(SEED)
    both = key_set(public_jwk(rsa_key(), kid="rsa"), public_jwk(ec_key(), kid="ec"))
    verifier = make_verifier(trusted_issuer(keys=key_store(FakeKeySource(both))))
    body = claims(groups=["a", "b"], scope="mcp", email="a@b.example")
    tokens = [
        mint(body, header(kid="rsa")),
        mint(body, header(kid="ec", alg="ES256"), key=ec_key()),
        mint(body, header(kid=None, typ=None)),
    ]
    for token in tokens:
        assert await verifier.verify(token)
    kinds = [_characters, _bits, _members, _segments]
    reasons, unchanged, before = {}, 0, 0
    for number in range(MUTATIONS):
        if number == MUTATIONS // 5:  # caches of the interpreter and of OpenSSL are warm by then
            gc.collect()
            before = _resident_kib()
        token = seeded.choice(tokens)
        mutant = seeded.choice(kinds)(seeded, token)
        if mutant == token:
            unchanged += 1
            continue
        try:
            await verifier.verify(mutant)
        except Denied as denied:
            reasons[denied.reason] = reasons.get(denied.reason, 0) + 1
        else:
            pytest.fail(f"mutation {number} of seed {SEED} was accepted")
    gc.collect()
    after = _resident_kib()
    print(  # noqa: T201 - the figures, for -s
        f"\n{MUTATIONS} mutations: 0 accepted, {unchanged} unchanged, RSS {before} -> {after} KiB; {reasons}"
    )
    assert sum(reasons.values()) + unchanged == MUTATIONS
    assert {Reason.TOKEN_MALFORMED, Reason.SIGNATURE_INVALID, Reason.ISSUER_UNKNOWN} <= reasons.keys()
    assert after - before < 4096
