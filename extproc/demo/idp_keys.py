"""The demo provider's signing keys: one RS256 and one ES256 key, replaced together on rotation."""

from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ALGORITHMS: Final = ("RS256", "ES256")


class KeyRing:
    """The current private keys, and the public keys that are published."""

    def __init__(self) -> None:
        self._generation = 0
        self._rsa: rsa.RSAPrivateKey
        self._ec: ec.EllipticCurvePrivateKey
        self._published: list[dict[str, Any]] = []
        self.rotate(drop=False)

    def rotate(self, *, drop: bool) -> list[str]:
        """Make a new pair of keys and return their kids.

        Args:
            drop: stop publishing all earlier keys at once; otherwise they stay in the JWKS.
        """
        self._generation += 1
        self._rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._ec = ec.generate_private_key(ec.SECP256R1())
        fresh: list[dict[str, Any]] = [
            {**RSAAlgorithm.to_jwk(self._rsa.public_key(), as_dict=True), "alg": "RS256"},
            {**ECAlgorithm.to_jwk(self._ec.public_key(), as_dict=True), "alg": "ES256"},
        ]
        for key in fresh:
            key.pop("key_ops", None)  # RFC 7517 section 4.3: "use" and "key_ops" should not be used together
            key["use"] = "sig"
            key["kid"] = self._kid(key["alg"])
        self._published = fresh if drop else [*fresh, *self._published]
        return [key["kid"] for key in fresh]

    def jwks(self) -> dict[str, Any]:
        """Return the public JWK Set (RFC 7517 section 5), newest keys first."""
        return {"keys": list(self._published)}

    def sign(
        self,
        claims: dict[str, Any],
        *,
        algorithm: str,
        token_type: str = "at+jwt",  # noqa: S107 - a media type
    ) -> str:
        """Sign a token with the current key; by default an access token (RFC 9068: ``typ`` is ``at+jwt``)."""
        key = self._rsa if algorithm == "RS256" else self._ec
        headers = {"typ": token_type, "kid": self._kid(algorithm)}
        return jwt.encode(claims, key, algorithm=algorithm, headers=headers)

    def verify(self, unverified_token: str, *, issuer: str) -> dict[str, Any] | None:
        """Return the claims of a current token that a published key has signed; None for any other."""
        try:
            header = jwt.get_unverified_header(unverified_token)
            document = next(key for key in self._published if key["kid"] == header.get("kid"))
            claims: dict[str, Any] = jwt.decode(
                unverified_token,
                jwt.PyJWK.from_dict(document),
                algorithms=[document["alg"]],
                issuer=issuer,
                options={"verify_aud": False, "require": ["iss", "sub", "aud", "exp"]},
            )
        except (jwt.PyJWTError, ValueError, StopIteration):
            return None
        return claims

    def _kid(self, algorithm: str) -> str:
        return f"demo-{algorithm.lower()}-{self._generation}"
