"""Authentication of the gateway at a token endpoint (RFC 6749 2.3, RFC 7523 2.2)."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote_plus

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extproc.clock import Clock
from extproc.token_exchange.files import WatchedFile, parse_secret

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFETIME = 60  # seconds; providers take a few minutes at most
MIN_RSA_BITS = 2048
_OF_CURVE = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}  # RFC 7518 3.4
_OF_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


@dataclass(frozen=True, slots=True)
class Proof:
    """What a request to the token endpoint gets added; all of it is secret."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)


class ClientAuthentication(Protocol):
    """Proves the gateway's identity at a token endpoint. For any thread."""

    def proof(self, token_endpoint: str) -> Proof:
        """Return what one request needs."""
        ...


class ClientSecret:
    """``client_secret_basic``, or ``client_secret_post`` with ``in_form``."""

    def __init__(self, client_id: str, path: Path, *, in_form: bool) -> None:
        self._client_id = client_id
        self._secret = WatchedFile(path, parse_secret)
        self._in_form = in_form

    def proof(self, _token_endpoint: str) -> Proof:
        """Return the secret in the form or, encoded twice as RFC 6749 2.3.1 says, in a header."""
        secret = self._secret.content()
        if self._in_form:
            return Proof(parameters={"client_id": self._client_id, "client_secret": secret})
        pair = f"{quote_plus(self._client_id)}:{quote_plus(secret)}"
        return Proof(headers={"authorization": f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"})


class ClientAssertion:
    """A token from a file that proves the gateway's identity, such as a Kubernetes service account's."""

    def __init__(self, client_id: str, path: Path) -> None:
        self._client_id = client_id
        self._assertion = WatchedFile(path, parse_secret)

    def proof(self, _token_endpoint: str) -> Proof:
        """Return the present token as the assertion."""
        return _assertion(self._client_id, self._assertion.content())


class PrivateKey:
    """``private_key_jwt``: an assertion that a key signs for each request.

    Args:
        audience: of assertions; None for the token endpoint.
        algorithm: of signatures; None for the usual one of the key.
        certificate: its thumbprint goes into the header as ``x5t#S256`` (RFC 7515 4.1.8).
    """

    def __init__(
        self,
        client_id: str,
        path: Path,
        *,
        clock: Clock,
        key_id: str | None = None,
        algorithm: str | None = None,
        certificate: Path | None = None,
        audience: str | None = None,
    ) -> None:
        self._client_id = client_id
        self._clock = clock
        self._key_id = key_id
        self._audience = audience
        self._key = WatchedFile(path, lambda body: _signing_key(body, algorithm))
        self._thumbprint = WatchedFile(certificate, _thumbprint) if certificate is not None else None

    def proof(self, token_endpoint: str) -> Proof:
        """Return a new assertion: its ``jti`` is used once."""
        key, algorithm = self._key.content()
        now = int(self._clock())
        headers = {"kid": self._key_id} if self._key_id is not None else {}
        if self._thumbprint is not None:
            headers["x5t#S256"] = self._thumbprint.content()
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": self._audience or token_endpoint,
            "jti": secrets.token_urlsafe(24),
            "iat": now,
            "nbf": now,
            "exp": now + ASSERTION_LIFETIME,
        }
        return _assertion(self._client_id, jwt.encode(claims, key, algorithm=algorithm, headers=headers))


def _assertion(client_id: str, assertion: str) -> Proof:
    return Proof(
        parameters={
            "client_id": client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
    )


def _signing_key(body: bytes, algorithm: str | None) -> tuple[RSAPrivateKey | EllipticCurvePrivateKey, str]:
    """Return a private key and the algorithm of its signatures; raise ``ValueError``."""
    try:
        key = load_pem_private_key(body, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("no private key in PEM without a password") from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise ValueError(f"the RSA key has less than {MIN_RSA_BITS} bits")
        fitting: tuple[str, ...] = _OF_RSA
    elif isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _OF_CURVE:
        fitting = (_OF_CURVE[key.curve.name],)
    else:
        raise ValueError("neither an RSA key nor an EC key of P-256, P-384 or P-521")
    if algorithm is not None and algorithm not in fitting:
        raise ValueError(f"signing_algorithm {algorithm} does not fit the key; {', '.join(fitting)} would")
    return key, algorithm or fitting[0]


def _thumbprint(body: bytes) -> str:
    try:
        certificate = x509.load_pem_x509_certificate(body)
    except ValueError:
        raise ValueError("no certificate in PEM") from None
    return base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).rstrip(b"=").decode("ascii")
