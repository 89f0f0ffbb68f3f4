"""The demo provider's token exchanges: a gateway trades a user's token for one that is meant for AWS.

RFC 8693, and RFC 7523 with ``requested_token_use=on_behalf_of`` as Entra ID has it. The tokens have the
shapes of four providers, with invented values:

* Okta: ``cid`` and ``uid``, ``scp`` as a list, no ``azp``
* Entra ID v2: ``azp``, ``oid`` and ``tid``, and a ``sub`` that differs by application
* Auth0: ``azp`` and ``gty``
* Keycloak: ``azp``, ``sid``, ``preferred_username``, and ``typ`` as a claim
"""

import hashlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from extproc.demo.idp_errors import OAuthError
from extproc.demo.idp_gateways import Gateway, Gateways
from extproc.demo.idp_keys import KeyRing

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693 2.1
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523 2.1
GRANTS: Final = (JWT_BEARER, TOKEN_EXCHANGE)
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693 3
JWT_TOKEN: Final = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105 - RFC 8693 3
LIFETIME: Final = 300  # seconds, as Keycloak's access tokens
TENANT: Final = "72f988bf-0000-4000-8000-2d7cd011db47"


@dataclass(frozen=True, slots=True)
class ExchangedToken:
    """A new token. ``lifetime``: seconds."""

    token: str
    lifetime: int
    scope: str


class Exchanges:
    """Exchanges tokens of this provider.

    Attributes:
        lifetime: of exchanged tokens in seconds; they never outlive the user's.
    """

    def __init__(self, *, issuer: str, audience: str, gateways: Gateways, keys: KeyRing) -> None:
        self._issuer = issuer
        self._audience = audience
        self._gateways = gateways
        self._keys = keys
        self.lifetime = LIFETIME

    def accept(self, form: Mapping[str, str], authorization: str | None) -> ExchangedToken:
        """Return a new token for a request to the token endpoint.

        Raises:
            OAuthError: no token for this request.
        """
        gateway = self._gateways.authenticate(form, authorization)
        entra = gateway.shape == "entra-v2"
        if (form["grant_type"] == JWT_BEARER) != entra:
            raise OAuthError("unauthorized_client", "this client may not use the grant")
        subject_token = self._on_behalf_of(form) if entra else self._exchange(form)
        user = self._keys.verify(subject_token, issuer=self._issuer)
        if user is None:
            raise OAuthError("invalid_grant", "the user's token is not valid")
        audiences = user["aud"] if isinstance(user["aud"], list) else [user["aud"]]
        if not {self._audience, gateway.client_id} & set(audiences):
            raise OAuthError("invalid_grant", "the user's token is not for this client")
        if entra:
            wanted, scope = form.get("scope", "").removesuffix("/.default"), "aws"
        else:
            wanted, scope = form.get("audience") or form.get("resource", ""), form.get("scope", "aws")
        if wanted != gateway.audience:
            raise OAuthError(
                "invalid_scope" if entra else "invalid_target", "no such audience for this client"
            )
        now = int(time.time())
        expires = min(now + self.lifetime, user["exp"])
        claims = {
            "iss": self._issuer,
            "aud": gateway.audience,
            "iat": now,
            "nbf": now,
            "exp": expires,
            "jti": str(uuid.uuid4()),
            **_shaped(gateway, user["sub"], scope),
        }
        token = self._keys.sign(claims, algorithm="RS256", token_type="JWT")  # noqa: S106 - a media type
        return ExchangedToken(token, expires - now, scope)

    @staticmethod
    def _exchange(form: Mapping[str, str]) -> str:
        if form.get("subject_token_type") not in (ACCESS_TOKEN, JWT_TOKEN):
            raise OAuthError("invalid_request", "subject_token_type is not supported")
        if form.get("requested_token_type", ACCESS_TOKEN) not in (ACCESS_TOKEN, JWT_TOKEN):
            raise OAuthError("invalid_request", "requested_token_type is not supported")
        return form.get("subject_token", "")

    @staticmethod
    def _on_behalf_of(form: Mapping[str, str]) -> str:
        if form.get("requested_token_use") != "on_behalf_of":
            raise OAuthError("invalid_request", "requested_token_use must be on_behalf_of")
        return form.get("assertion", "")


def _shaped(gateway: Gateway, user: str, scope: str) -> dict[str, Any]:
    """Return the claims in which providers differ."""
    own = {"azp": gateway.client_id}
    match gateway.shape:
        case "okta":
            own = {"uid": f"00u{_digest(user)[:17]}", "cid": gateway.client_id}
            return {"sub": user, **own, "ver": 1, "scp": scope.split()}
        case "entra-v2":
            own |= {"oid": user_object_id(user), "tid": TENANT, "azpacr": "1"}
            return {"sub": _digest(f"{gateway.client_id} {user}"), **own, "ver": "2.0", "scp": scope}
        case "auth0":
            return {"sub": user, **own, "gty": "token-exchange", "scope": scope}
        case _:
            own |= {"typ": "Bearer", "sid": str(uuid.uuid4()), "preferred_username": user}
            return {"sub": user, **own, "scope": scope}


def user_object_id(user: str) -> str:
    """Return the ``oid`` of a user: the same for all applications, as in Entra ID."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, user))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
