"""The state of one examination: the input, and what earlier checks leave for later ones."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from extproc.aws.tokens import Objection
from extproc.clock import Clock
from extproc.config import Issuer, Settings
from extproc.errors import Denied
from extproc.explain.explanation import Explanation
from extproc.sts.aws_clock import AwsClock
from extproc.sts.client import StsClient
from extproc.values import Credentials, Grant

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that requests depend on. ``setting``: the path of its setting; ``url``: where it is."""

    setting: str
    url: str

    @property
    def host(self) -> str:
        """The host in the URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def secure(self) -> bool:
        """Whether it is called with TLS."""
        return self.url.startswith("https:")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return self.host, parts.port or _PORTS[parts.scheme]

    @property
    def subject(self) -> str:
        """The endpoint in findings."""
        return f"{self.setting} {self.url}"


@dataclass(slots=True)
class Examination:
    """One run of the doctor.

    Attributes:
        envoy: URL of Envoy's admin interface; empty if none is given.
        endpoints: all servers that the configuration names.
        broken: the check that found an endpoint broken, by URL. Later checks skip such endpoints.
        dates: the ``Date`` headers of providers, and when they arrived, by subject.
        jwks_uris: where discovery found each issuer's keys, by issuer.
        explanation: the verification of the token and the decision, once they were examined.
        issuer: the issuer of the verified token.
        objections: what STS would not take of it.
        unverified_web_identity_token: what the provider gave in exchange for the token, verified meanwhile.
        credentials: those of the token's exchange.
    """

    settings: Settings
    clock: Clock
    aws_clock: AwsClock
    sts: StsClient
    endpoints: list[Endpoint]
    unverified_token: str | None = field(default=None, repr=False)
    envoy: str = ""
    broken: dict[str, str] = field(default_factory=dict)
    dates: dict[str, tuple[str | None, float]] = field(default_factory=dict)
    jwks_uris: dict[str, str] = field(default_factory=dict)
    explanation: Explanation | None = None
    issuer: Issuer | None = None
    objections: list[Objection] = field(default_factory=list)
    unverified_web_identity_token: str | None = field(default=None, repr=False)
    credentials: Credentials | None = None

    @property
    def grant(self) -> Grant | None:
        """The role for the token; None without a decision for one."""
        outcome = self.explanation.outcome if self.explanation else None
        return outcome if isinstance(outcome, Grant) else None

    @property
    def denied(self) -> Denied | None:
        """Why the token gets no role; None if it does."""
        outcome = self.explanation.outcome if self.explanation else None
        return outcome if isinstance(outcome, Denied) else None


def issuer_path(position: int) -> str:
    """Return the path of an issuer's settings."""
    return f"issuers[{position}]"


def endpoints_of(settings: Settings, sts: StsClient) -> list[Endpoint]:
    """Return the endpoints that the configuration names: key sources, STS and the targets."""
    found = [
        Endpoint(issuer_path(position), keys_url(issuer))
        for position, issuer in enumerate(settings.issuers)
        if issuer.verified_by == "extproc" and not issuer.jwks_file
    ]
    found.append(Endpoint("sts", sts.endpoint_url))
    found += [
        Endpoint(f"targets[{position}]", target.endpoint_url or f"https://{target.host}")
        for position, target in enumerate(settings.targets)
    ]
    return found


def keys_url(issuer: Issuer) -> str:
    """Return the URL from which an issuer's keys are fetched first."""
    return issuer.jwks_uri or issuer.issuer
