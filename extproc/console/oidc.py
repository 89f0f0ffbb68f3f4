"""Login by OpenID Connect: the authorization code flow with PKCE (RFC 6749 4.1, RFC 7636, RFC 9700).

The ID token passes the server's own verifier, with the console's client id as its audience.
"""

import base64
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from extproc import strictjson
from extproc.app.factories import key_source
from extproc.authn.audience import Audiences
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.keys import KeyStore, RefreshPolicy
from extproc.authn.provider import HttpDocuments
from extproc.authn.trusted_issuer import TrustedIssuer
from extproc.authn.verifier import Verifier
from extproc.clock import Clock
from extproc.config import Settings
from extproc.console.token_request import TokenRequestError, post_form
from extproc.errors import Denied
from extproc.loopback import is_loopback_url
from extproc.values import Identity

_DISCOVERED_FOR = 300.0  # seconds
_LEEWAY = 30.0  # seconds


class LoginError(Exception):
    """The login failed. The message is for the user, and quotes nothing of a token."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login under way, kept by the browser that began it.

    Attributes:
        state: binds the answer to this browser (RFC 6749 10.12).
        nonce: binds the ID token to this login (OpenID Connect Core 3.1.2.1).
        verifier: proves to the token endpoint who began (RFC 7636).
        then: the page to go to.
    """

    state: str
    nonce: str
    verifier: str
    then: str

    @classmethod
    def new(cls, then: str) -> "Attempt":
        """Begin a login."""
        return cls(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(32),
            then=then,
        )

    @property
    def challenge(self) -> str:
        """Return the S256 challenge of the verifier (RFC 7636 4.2)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def to_dict(self) -> dict[str, str]:
        """Return the members, for a signed cookie."""
        return asdict(self)


class OidcLogin:
    """Logs people in at one issuer. Belongs to one event loop.

    Args:
        documents: fetches the issuer's metadata and keys.
        post: sends a form to the token endpoint.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        redirect_uri: str,
        clock: Clock,
        documents: HttpDocuments | None = None,
        post: Callable[..., Awaitable[Mapping[str, Any]]] = post_form,
    ) -> None:
        oidc = settings.console.oidc
        assert oidc is not None  # noqa: S101 - the caller has looked
        issuer = settings.console_issuer
        self.issuer = issuer.issuer
        self._client_id = oidc.client_id
        self._secret_file = Path(oidc.client_secret_file) if oidc.client_secret_file else None
        self._scope = " ".join(oidc.scopes)
        self._redirect_uri = redirect_uri
        self._allow_http = issuer.allow_insecure_http or is_loopback_url(issuer.issuer)
        self._clock = clock
        self._documents = documents or HttpDocuments()
        self._post = post
        self._metadata: tuple[float, Mapping[str, Any]] | None = None
        keys = KeyStore(
            issuer=issuer.issuer,
            source=key_source(issuer, self._documents),
            clock=clock,
            refresh=RefreshPolicy(),
        )
        self._verifier = Verifier(
            issuers=[
                TrustedIssuer(
                    issuer=issuer.issuer,
                    audiences=Audiences([oidc.client_id]),
                    algorithms=frozenset(issuer.algorithms),
                    # An access token must not log anybody in, even where its audience is the client.
                    token_types=frozenset({"jwt", ""}),
                    leeway=_LEEWAY,
                    keys=keys,
                )
            ],
            clock=clock,
        )

    async def authorization_url(self, attempt: Attempt) -> str:
        """Return where to send the browser.

        Raises:
            LoginError: the issuer's metadata cannot be had.
        """
        endpoint = await self._endpoint("authorization_endpoint")
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._scope,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def finish(self, attempt: Attempt, answer: Mapping[str, str]) -> Identity:
        """Return the verified identity for the issuer's answer to the browser.

        Raises:
            LoginError: the answer is of another login, or the issuer's token is not valid.
        """
        if not secrets.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise LoginError("The answer belongs to another login. Log in again.")
        if answer.get("iss", self.issuer) != self.issuer:  # RFC 9207 2.4: against mix-up
            raise LoginError("The answer comes from another issuer.")
        announced = (await self._discovered()).get("authorization_response_iss_parameter_supported") is True
        if announced and "iss" not in answer:  # RFC 9207 2.4
            raise LoginError("The answer does not say which issuer it comes from.")
        if "error" in answer or not answer.get("code"):
            raise LoginError("The identity provider did not log you in.")
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": self._redirect_uri,
            "client_id": self._client_id,
            "code_verifier": attempt.verifier,
        }
        endpoint = await self._endpoint("token_endpoint")
        try:
            tokens = await self._post(
                endpoint, form, secret=self._secret(), client_id=self._client_id, allow_http=self._allow_http
            )
        except TokenRequestError as error:
            raise LoginError(f"The identity provider gave no token: {error}.") from None
        unverified_token = tokens.get("id_token")
        if not isinstance(unverified_token, str):
            raise LoginError("The identity provider gave no ID token.")
        return await self._verified(unverified_token, attempt)

    async def _verified(self, unverified_token: str, attempt: Attempt) -> Identity:
        """Verify an ID token (OpenID Connect Core 3.1.3.7)."""
        try:
            identity = await self._verifier.verify(unverified_token)
        except Denied as denied:
            raise LoginError(f"The ID token is not valid ({denied.reason.value}).") from None
        claims = identity.claims
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not secrets.compare_digest(nonce.encode(), attempt.nonce.encode()):
            raise LoginError("The ID token belongs to another login.")
        audiences = claims.get("aud")
        several = isinstance(audiences, list) and len(audiences) > 1
        if (several or "azp" in claims) and claims.get("azp") != self._client_id:
            raise LoginError("The ID token is for another client.")
        return identity

    def _secret(self) -> str | None:
        if self._secret_file is None:
            return None
        try:
            return self._secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise LoginError("The console cannot read its client secret.") from None

    async def _endpoint(self, name: str) -> str:
        metadata = await self._discovered()
        endpoint = metadata.get(name)
        schemes = ("https://", "http://") if self._allow_http else ("https://",)
        if not isinstance(endpoint, str) or not endpoint.startswith(schemes):
            raise LoginError(f"The identity provider's metadata has no usable {name}.")
        return endpoint

    async def _discovered(self) -> Mapping[str, Any]:
        """Return the issuer's metadata (OpenID Connect Discovery 4)."""
        if self._metadata is not None and self._clock() - self._metadata[0] < _DISCOVERED_FOR:
            return self._metadata[1]
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            document = await self._documents.get(url, allow_http=self._allow_http)
            members = strictjson.loads_object(document.body)
        except (KeyDocumentError, strictjson.AmbiguousJSONError):
            raise LoginError("The identity provider does not answer.") from None
        if members.get("issuer") != self.issuer:
            raise LoginError("The identity provider's metadata is of another issuer.")
        self._metadata = self._clock(), members
        return members
