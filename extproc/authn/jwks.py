"""JSON Web Key Sets (RFC 7517): which keys of a document are admitted, and why others are refused."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from extproc import strictjson
from extproc.authn.rsa_weakness import weakness

MAX_KID_LENGTH = 512
MAX_KEYS = 200
MAX_VALUES = 10_000  # members and elements of a whole document
_MAX_NUMBER = 1400  # characters of a base64url number: ``rsa_weakness.MAX_BITS`` and some leading zeros
RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512"})
EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}  # RFC 7518 3.4
SUPPORTED_ALGORITHMS = RSA_ALGORITHMS | frozenset(EC_ALGORITHMS.values())
"""The algorithms that STS accepts for a web identity token; never ``none``, never HMAC."""

_NUMBERS = ("n", "e", "x", "y")  # RFC 7518 6.2.1, 6.3.1
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})  # RFC 7518 6.2.2, 6.3.2


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key.

    Attributes:
        algorithms: those that the key may verify.
        thumbprint: SHA-256 of the key as SubjectPublicKeyInfo.
    """

    kid: str | None
    algorithms: frozenset[str]
    public_key: RSAPublicKey | EllipticCurvePublicKey = field(repr=False)
    thumbprint: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The admitted keys of one document.

    Attributes:
        refused: one "keys[position]: reason" for each key that was not admitted.
    """

    keys: tuple[VerificationKey, ...]
    refused: tuple[str, ...]
    thumbprints: frozenset[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "thumbprints", frozenset(key.thumbprint for key in self.keys))

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """Return the key for a token header; without a ``kid`` only if exactly one key fits the algorithm."""
        fitting = [
            key for key in self.keys if algorithm in key.algorithms and (kid is None or key.kid == kid)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def has_kid(self, kid: str | None) -> bool:
        """Return whether a key of this name exists, for any algorithm."""
        return kid is None or any(key.kid == kid for key in self.keys)


class KeyDocumentError(Exception):
    """A key document could not be fetched or used; the message is for operators."""


def parse_key_set(document: bytes) -> KeySet:
    """Admit the usable signature keys of a JWK Set (RFC 7517 5).

    Refused: symmetric and private keys, weak and oversized RSA keys (see ``rsa_weakness``), unknown
    types and curves, keys for encryption, and every key whose ``kid`` is used twice, since a token could
    mean either. A key without a ``kid`` verifies only tokens without one. A large document takes a tenth
    of a second, too long for the event loop.

    Raises:
        KeyDocumentError: not a JWK Set, or no usable key in it.
    """
    try:
        entries = strictjson.loads_object(document, max_values=MAX_VALUES).get("keys")
    except strictjson.AmbiguousJSONError as error:
        raise KeyDocumentError(f"JWK Set: {error}") from None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise KeyDocumentError(f"JWK Set: 'keys' must be a list of at most {MAX_KEYS}")
    kid_count = Counter(entry.get("kid") for entry in entries if isinstance(entry, dict) and _kid_ok(entry))
    admitted: list[VerificationKey] = []
    refused: list[str] = []
    for position, entry in enumerate(entries):
        try:
            key = _admit(entry)
            if key.kid is not None and kid_count[key.kid] > 1:
                raise KeyDocumentError("kid is used twice")  # noqa: TRY301 - one place collects refusals
            admitted.append(key)
        except KeyDocumentError as error:
            refused.append(f"keys[{position}]: {error}")
    if not admitted:
        raise KeyDocumentError("JWK Set: no usable key; " + "; ".join(refused[:5]))
    return KeySet(keys=tuple(admitted), refused=tuple(refused))


def _kid_ok(entry: Mapping[str, Any]) -> bool:
    kid = entry.get("kid")
    return kid is None or (isinstance(kid, str) and len(kid) <= MAX_KID_LENGTH)


def _admit(entry: object) -> VerificationKey:
    if not isinstance(entry, dict) or not _kid_ok(entry):
        raise KeyDocumentError("not a JWK with a string kid")
    if entry.get("kty") not in ("RSA", "EC"):
        raise KeyDocumentError("key type is not RSA or EC")
    if not _PRIVATE_MEMBERS.isdisjoint(entry):
        raise KeyDocumentError("a private key is published")
    if entry.get("use", "sig") != "sig":  # RFC 7517 4.2
        raise KeyDocumentError("not for signatures")
    operations = entry.get("key_ops", ["verify"])  # RFC 7517 4.3
    if not isinstance(operations, list) or "verify" not in operations:
        raise KeyDocumentError("key_ops does not allow verification")
    declared = entry.get("alg")
    public_key = _public_key(entry)
    algorithms = _algorithms(public_key)
    if declared is not None:
        algorithms &= {declared} if isinstance(declared, str) else frozenset()
    if not algorithms:
        raise KeyDocumentError("its alg does not fit its type, or is not supported")
    thumbprint = hashlib.sha256(
        public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).digest()
    return VerificationKey(entry.get("kid"), algorithms, public_key, thumbprint)


def _public_key(entry: Mapping[str, Any]) -> Any:
    if any(isinstance(number, str) and len(number) > _MAX_NUMBER for number in map(entry.get, _NUMBERS)):
        raise KeyDocumentError("a number in it is too long")
    # The key is parsed by its type; a declared algorithm only restricts what it may verify.
    material = {name: value for name, value in entry.items() if name != "alg"}
    try:
        return jwt.PyJWK(material).key
    except Exception as error:  # noqa: BLE001 - PyJWT raises unrelated types for malformed members
        raise KeyDocumentError(f"cannot be parsed ({type(error).__name__})") from None


def _algorithms(public_key: object) -> frozenset[str]:
    if isinstance(public_key, RSAPublicKey):
        numbers = public_key.public_numbers()
        wrong = weakness(numbers.n, numbers.e)
        if wrong is not None:
            raise KeyDocumentError(wrong)
        return RSA_ALGORITHMS
    if isinstance(public_key, EllipticCurvePublicKey) and public_key.curve.name in EC_ALGORITHMS:
        return frozenset({EC_ALGORITHMS[public_key.curve.name]})
    raise KeyDocumentError("curve is not supported")
