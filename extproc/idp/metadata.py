"""What a provider's metadata says of itself, for a configuration that is being written."""

from dataclasses import dataclass

from extproc import strictjson
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.provider import HttpDocuments
from extproc.loopback import is_loopback_url

_WELL_KNOWN = "/.well-known/openid-configuration"
_SHOWN = 200  # characters of a value in an error


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of one provider.

    Attributes:
        issuer: as the provider spells it.
        jwks_uri: the URL of its keys.
    """

    issuer: str
    jwks_uri: str


async def read_metadata(issuer: str, documents: HttpDocuments) -> Metadata:
    """Fetch the metadata of an issuer (OpenID Connect Discovery 1.0 section 4).

    A provider whose own spelling differs by a slash at the end is taken, with its spelling.

    Raises:
        KeyDocumentError: it cannot be fetched, is of another issuer, or names no keys.
    """
    url = issuer.rstrip("/") + _WELL_KNOWN
    document = await documents.get(url, allow_http=is_loopback_url(issuer))
    try:
        members = strictjson.loads_object(document.body)
    except strictjson.AmbiguousJSONError as error:
        raise KeyDocumentError(f"{url}: {error}") from None
    own, jwks_uri = members.get("issuer"), members.get("jwks_uri")
    if not isinstance(own, str) or own.rstrip("/") != issuer.rstrip("/"):
        raise KeyDocumentError(f"{url}: its issuer is another one, {ascii(own)[:_SHOWN]}")
    if not isinstance(jwks_uri, str) or not jwks_uri.isprintable():
        raise KeyDocumentError(f"{url}: jwks_uri is missing")
    return Metadata(issuer=own, jwks_uri=jwks_uri)
