"""Checks of a token's header and signature, before its claims count."""

from collections.abc import Mapping
from typing import Any

import jwt

from extproc.authn.jwks import MAX_KID_LENGTH, SUPPORTED_ALGORITHMS, VerificationKey
from extproc.authn.token import UnverifiedToken
from extproc.authn.trusted_issuer import TrustedIssuer
from extproc.errors import Denied, Reason

_ALGORITHMS = {name: jwt.get_algorithm_by_name(name) for name in SUPPORTED_ALGORITHMS}


def check_header(header: Mapping[str, Any], trusted: TrustedIssuer) -> str:
    """Return the algorithm of a token's header.

    Raises:
        Denied: ``ALGORITHM_REFUSED``, or ``TOKEN_MALFORMED`` for another member.
    """
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in trusted.algorithms:
        raise Denied(
            Reason.ALGORITHM_REFUSED,
            "alg is not allowed for this issuer; algorithms may list what STS takes, RS and ES",
        )
    token_type = header.get("typ", "")
    if not isinstance(token_type, str) or token_type.lower() not in trusted.token_types:
        raise Denied(
            Reason.TOKEN_MALFORMED, "typ is not expected from this issuer; token_types lists what is"
        )
    if "crit" in header or "b64" in header:  # RFC 7515 4.1.11, RFC 7797: no extension is supported
        raise Denied(Reason.TOKEN_MALFORMED, "critical header parameters are not supported")
    kid = header.get("kid", "")
    if not isinstance(kid, str) or len(kid) > MAX_KID_LENGTH:
        raise Denied(Reason.TOKEN_MALFORMED, "kid is not a short string")
    return algorithm


def check_signature(unverified: UnverifiedToken, key: VerificationKey, algorithm: str) -> None:
    """Verify the signature of a token.

    ``algorithm`` must come from ``check_header`` and fit the key, as ``KeyStore.find`` makes sure: it is
    not checked again here.

    Raises:
        Denied: ``SIGNATURE_INVALID``.
    """
    # The segments are decoded already, so the primitive is called as PyJWT calls it for this algorithm.
    try:
        valid = _ALGORITHMS[algorithm].verify(unverified.signing_input, key.public_key, unverified.signature)
    except Exception as error:  # noqa: BLE001 - cryptography raises unrelated types
        raise Denied(Reason.SIGNATURE_INVALID, type(error).__name__) from None
    if valid is not True:
        raise Denied(Reason.SIGNATURE_INVALID, "the signature does not fit the key")
