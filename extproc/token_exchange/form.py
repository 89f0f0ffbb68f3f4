"""The form of a request to a token endpoint, for both grants."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from extproc.token_exchange.client_authentication import Proof

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693 2.1
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523 2.1


@dataclass(frozen=True, slots=True)
class RequestForm:
    """What is asked of the token endpoint.

    Attributes:
        grant: RFC 8693, or RFC 7523 as Entra ID's on-behalf-of flow extends it
            (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow).
        scope: separated by spaces; empty for none.
    """

    grant: Literal["token-exchange", "jwt-bearer"]
    audiences: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    scope: str = ""
    subject_token_type: str = ""
    requested_token_type: str | None = None

    def body(self, unverified_token: str, proof: Proof) -> bytes:
        """Return the encoded form that asks for a token in exchange for a user's."""
        if self.grant == "jwt-bearer":
            parameters = [
                ("grant_type", JWT_BEARER),
                ("assertion", unverified_token),
                ("requested_token_use", "on_behalf_of"),
            ]
        else:
            parameters = [
                ("grant_type", TOKEN_EXCHANGE),
                ("subject_token", unverified_token),
                ("subject_token_type", self.subject_token_type),
            ]
            if self.requested_token_type is not None:
                parameters.append(("requested_token_type", self.requested_token_type))
        parameters += [("audience", audience) for audience in self.audiences]
        parameters += [("resource", resource) for resource in self.resources]
        if self.scope:
            parameters.append(("scope", self.scope))
        return urlencode([*parameters, *proof.parameters.items()]).encode("ascii")
