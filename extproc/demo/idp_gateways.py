"""Confidential clients of the demo's provider: gateways that exchange tokens, and their authentication.

``client_secret_basic`` and ``_post`` (RFC 6749 2.3.1), ``private_key_jwt`` (RFC 7523 2.2, OpenID Connect Core
1.0 section 9).
"""

import base64
import binascii
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote_plus

import jwt
from cachetools import TTLCache
from jwt.types import Options

from extproc.demo.idp_errors import OAuthError

SHAPES: Final = ("okta", "entra-v2", "auth0", "keycloak")
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_ASSERTION_LIFETIME: Final = 300  # seconds
MAX_GATEWAYS: Final = 100
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "ES512")
_VERIFY: Final[Options] = {"require": ["iss", "sub", "aud", "exp", "jti"]}


@dataclass(frozen=True, slots=True)
class Gateway:
    """A confidential client.

    Attributes:
        secret: None if it authenticates with a key.
        public_key: PEM; None if it authenticates with a secret.
        shape: the provider whose requests are expected and whose tokens are issued.
        audience: what it may ask tokens for.
    """

    client_id: str
    audience: str
    shape: str = "okta"
    secret: str | None = field(default=None, repr=False)
    public_key: str | None = None

    @classmethod
    def from_json(cls, document: object) -> "Gateway":
        """Return the client that a control request describes.

        Raises:
            ValueError: it is of another form.
        """
        names = {"client_id", "audience", "shape", "secret", "public_key"}
        if not isinstance(document, dict) or not document.keys() <= names:
            raise ValueError(f"expected an object with keys of {sorted(names)}")
        if not all(isinstance(value, str) and value for value in document.values()):
            raise ValueError("all values are strings")
        if not {"client_id", "audience"} <= document.keys() or document.get("shape", "okta") not in SHAPES:
            raise ValueError(f"client_id, audience and a shape of {SHAPES} are expected")
        if ("secret" in document) == ("public_key" in document):
            raise ValueError("exactly one of secret and public_key is expected")
        return cls(**document)


DEMO_GATEWAY: Final = Gateway(
    client_id="demo-gateway",
    audience="demo-aws",
    secret="demo-gateway-secret",  # noqa: S106 - printed in the demo's instructions
)


class Gateways:
    """The registered gateways. ``token_endpoint`` and ``issuer`` are the audiences of assertions."""

    def __init__(self, *, issuer: str, token_endpoint: str) -> None:
        self._audiences = [token_endpoint, issuer]
        self._known = {DEMO_GATEWAY.client_id: DEMO_GATEWAY}
        self._seen: TTLCache[str, bool] = TTLCache(10_000, MAX_ASSERTION_LIFETIME * 2, time.monotonic)

    def register(self, gateway: Gateway) -> None:
        """Add a gateway, or replace the one with its id."""
        if len(self._known) >= MAX_GATEWAYS and gateway.client_id not in self._known:
            raise ValueError("too many gateways")
        self._known[gateway.client_id] = gateway

    def authenticate(self, form: Mapping[str, str], authorization: str | None) -> Gateway:
        """Return the gateway that a request to the token endpoint comes from.

        Raises:
            OAuthError: ``invalid_client`` (RFC 6749 5.2).
        """
        methods = (authorization is not None) + ("client_secret" in form) + ("client_assertion" in form)
        if methods != 1:
            raise OAuthError(
                "invalid_client", "one client authentication is expected", HTTPStatus.UNAUTHORIZED
            )
        if "client_assertion" in form:
            return self._by_assertion(form)
        if authorization is not None:
            client_id, secret = _basic(authorization)
        else:
            client_id, secret = form.get("client_id", ""), form["client_secret"]
        gateway = self._known.get(client_id)
        if gateway is None or gateway.secret is None:
            raise _invalid()
        if not hmac.compare_digest(gateway.secret.encode(), secret.encode()):
            raise _invalid()
        return gateway

    def _by_assertion(self, form: Mapping[str, str]) -> Gateway:
        gateway = self._known.get(form.get("client_id", ""))
        if (
            gateway is None
            or gateway.public_key is None
            or form.get("client_assertion_type") != ASSERTION_TYPE
        ):
            raise _invalid()
        try:
            header = jwt.get_unverified_header(form["client_assertion"])
            claims: dict[str, Any] = jwt.decode(
                form["client_assertion"],
                gateway.public_key,
                algorithms=list(_ALGORITHMS),
                audience=self._audiences,
                issuer=gateway.client_id,
                subject=gateway.client_id,
                options=_VERIFY,
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            raise _invalid() from None
        if gateway.shape == "entra-v2" and not {"x5t", "x5t#S256"} & header.keys():
            # AADSTS50027: Entra ID finds the certificate by its thumbprint.
            raise _invalid()
        if claims["exp"] > time.time() + MAX_ASSERTION_LIFETIME or str(claims["jti"]) in self._seen:
            raise _invalid()
        self._seen[str(claims["jti"])] = True
        return gateway


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, credentials = authorization.partition(" ")
    try:
        pair = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise _invalid() from None
    if scheme.lower() != "basic":
        raise _invalid()
    client_id, _, secret = pair.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)


def _invalid() -> OAuthError:
    return OAuthError("invalid_client", "the client could not be authenticated", HTTPStatus.UNAUTHORIZED)
