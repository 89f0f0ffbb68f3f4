"""Keys, key sets and tokens for tests: valid ones in a line, invalid ones assembled by hand."""

import asyncio
import base64
import functools
import json

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from extproc.authn.audience import Audiences
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.keys import KeyDocument, KeyStore, RefreshPolicy
from extproc.authn.trusted_issuer import TrustedIssuer
from extproc.authn.verifier import Verifier
from extproc.scopes import ScopeHierarchy

NOW = 1_790_000_000
ISSUER = "https://idp.example"
AUDIENCE = "https://mcp.example/mcp"
KID = "rsa-1"
_CURVES = {
    "P-256": (ec.SECP256R1, "ES256"),
    "P-384": (ec.SECP384R1, "ES384"),
    "P-521": (ec.SECP521R1, "ES512"),
    "secp256k1": (ec.SECP256K1, "ES256K"),
}


@functools.cache
def rsa_key(name="first", bits=2048):
    """A private RSA key, one a name and size for the whole test run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def ec_key(curve="P-256", name="first"):
    """A private elliptic-curve key, one a curve and name for the whole test run."""
    return ec.generate_private_key(_CURVES[curve][0]())


def algorithm_of(key):
    """The usual JWS algorithm of a private key."""
    if isinstance(key, RSAPrivateKey):
        return "RS256"
    return next(alg for curve, alg in _CURVES.values() if curve.name == key.curve.name)


def public_jwk(key, **members):
    """The public JWK of a private key, with ``members`` added; ``None`` leaves a member out."""
    codec = jwt.get_algorithm_by_name(algorithm_of(key))
    jwk = codec.to_jwk(key.public_key(), as_dict=True)
    jwk.pop("key_ops", None)
    jwk.update(members)
    return {name: value for name, value in jwk.items() if value is not None}


def private_jwk(key, **members):
    """The private JWK of a private key, which no provider should publish."""
    return {**jwt.get_algorithm_by_name(algorithm_of(key)).to_jwk(key, as_dict=True), **members}


def key_set(*jwks):
    """A JWK Set document."""
    return json.dumps({"keys": list(jwks)}).encode()


def segment(content):
    """One base64url segment of a compact JWS from bytes, or from anything that JSON can say."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes):
    """Claims that are accepted; ``None`` in ``changes`` leaves one out."""
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": NOW - 10, "exp": NOW + 600}
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def header(**changes):
    """A header that is accepted; ``None`` in ``changes`` leaves a member out."""
    usual = {"alg": "RS256", "typ": "at+jwt", "kid": KID}
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def mint(body=None, head=None, *, key=None, alg=None):
    """A token of this header and these claims, each JSON or raw bytes, signed whatever they say.

    ``alg`` is what the signature is really made with; by default what fits the key.
    """
    key = rsa_key() if key is None else key
    signing_input = (
        f"{segment(header() if head is None else head)}.{segment(claims() if body is None else body)}"
    )
    signature = jwt.get_algorithm_by_name(alg or algorithm_of(key)).sign(signing_input.encode(), key)
    return f"{signing_input}.{segment(signature)}"


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now=NOW):
        self.now = float(now)

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class FakeKeySource:
    """Answers, fails or hangs as it is told, and counts the fetches."""

    def __init__(self, body=None, *, max_age=None):
        self.body = body
        self.max_age = max_age
        self.error = None
        self.fetches = 0
        self._open = asyncio.Event()
        self._open.set()

    def hang(self):
        self._open.clear()

    def release(self):
        self._open.set()

    async def fetch(self):
        self.fetches += 1
        await self._open.wait()
        if self.error is not None:
            raise self.error
        if self.body is None:
            raise KeyDocumentError("nothing published")
        return KeyDocument(self.body, max_age=self.max_age)


def key_store(source=None, *, clock=None, issuer=ISSUER, **policy):
    """A key store; by default with one RSA key called ``KID``. Where its source hangs, give it little ``wait``."""
    source = FakeKeySource(key_set(public_jwk(rsa_key(), kid=KID))) if source is None else source
    policy = {"wait": 30, **policy}
    return KeyStore(issuer=issuer, source=source, clock=clock or FakeClock(), refresh=RefreshPolicy(**policy))


def trusted_issuer(**changes):
    """A trusted issuer; its algorithms are RS256 and ES256, its leeway 30 seconds."""
    usual = {
        "issuer": ISSUER,
        "audiences": frozenset({AUDIENCE}),
        "algorithms": frozenset({"RS256", "ES256"}),
        "token_types": frozenset({"at+jwt", "application/at+jwt", "jwt", ""}),
        "leeway": 30,
    }
    arguments = {**usual, **changes}
    for name in ("audiences", "exchange_audiences"):
        if isinstance(arguments.get(name), frozenset):
            arguments[name] = Audiences(arguments[name])
    if isinstance(arguments.get("required_scopes"), tuple):
        arguments["required_scopes"] = ScopeHierarchy().require(arguments["required_scopes"])
    arguments.setdefault("keys", key_store(issuer=arguments["issuer"]))
    return TrustedIssuer(**arguments)


def make_verifier(*issuers, clock=None, **more):
    """A verifier of these issuers, by default of ``trusted_issuer()``."""
    return Verifier(issuers=list(issuers) or [trusted_issuer()], clock=clock or FakeClock(), **more)
