"""A real pipeline over fakes of its I/O seams (verifier and exchange), for tests of what drives it."""

import asyncio

from extproc.authn.challenge import ProtectedResource
from extproc.authn.origin import Origins
from extproc.errors import Denied, Reason
from extproc.fairness.stream_slots import StreamSlots
from extproc.fairness.token_buckets import SECOND, TokenBuckets
from extproc.policy.rules import ClaimContains, Policy, Rule
from extproc.request import pipeline
from extproc.sessions.credentials import CredentialPolicy, CredentialStore
from extproc.sessions.revocation import DenyList, Revocation
from extproc.sessions.table import SessionTable
from extproc.signing.signer import Signer
from extproc.signing.targets import Scope, Target, TargetTable
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.observer import Observer
from extproc.values import Credentials, Identity, RequestHead

NOW = 1_790_000_000.0
TOKEN = "eyJhbGciOiJub25lIn0.e30.c2ln"
AWS_MCP = Target(
    name="aws-mcp", host="aws-mcp.us-east-1.api.aws", scope=Scope(region="us-east-1", service="aws-mcp")
)


def head_of(*, has_body=False, headers=()):
    """A request of the token's, as admission takes it."""
    own = ("authorization", f"Bearer {TOKEN}")
    return RequestHead("POST", "/mcp", "mcp.example", (own, *headers), has_body=has_body)


class FakeVerifier:
    """Accepts every token, for the groups it is told."""

    def __init__(self):
        self.calls = 0
        self.failure: BaseException | None = None
        self.trusted = True
        self.groups = ["admins"]
        self.reads_jwt_payload = False
        self.exchange_headers = frozenset()

    async def verify(self, unverified_token, *, jwt_payload=None):
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return Identity(
            issuer="https://idp.example",
            subject="alice",
            expires_at=NOW + 600,
            claims={"sub": "alice", "groups": self.groups},
            key_thumbprint=b"k",
        )

    async def for_exchange(self, identity, unverified_token, _exchange_tokens):
        return identity, unverified_token

    def still_trusted(self, _identity, _jwt_payload):
        if isinstance(self.trusted, BaseException):
            raise self.trusted
        return self.trusted


class FakeExchange:
    """Hands out credentials, when ``gate`` is open."""

    def __init__(self):
        self.calls = 0
        self.failure: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def exchange(self, _owner, _token, _grant):
        self.calls += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return Credentials(f"ASIA{self.calls:016d}", "s" * 40, "session-token", NOW + 900)


class Parts:
    """A pipeline with its fakes at hand."""

    def __init__(
        self,
        *,
        targets=(AWS_MCP,),
        max_body_bytes=1024,
        allowed_origins=(),
        exchange_headers=(),
        answers="never",
        policy=None,
        audit=None,
        sample_allows=1.0,
        tracer=None,
        remember_heads=True,
        check_one_head_in=10**9,  # those that check set it: by chance it would be another test that fails
        slots=None,
        rate_limits=(),
        with_metadata=True,
    ):
        self.now = NOW
        self.verifier = FakeVerifier()
        self.verifier.exchange_headers = frozenset(exchange_headers)
        self.exchange = FakeExchange()
        self.metrics = Metrics()
        self.sessions = SessionTable(max_entries=100, clock=lambda: self.now)
        self.signer = Signer(lambda: self.now)
        self.policy = policy or Policy(
            rules=[
                Rule("admins", ClaimContains("groups", "admins"), "arn:aws:iam::123456789012:role/Admin", 1)
            ],
            fallback_role_arn=None,
            session_name_claim="sub",
            session_duration=900,
        )
        self.credentials = CredentialStore(
            sessions=self.sessions,
            exchange=self.exchange,
            clock=lambda: self.now,
            policy=CredentialPolicy(max_entries=100),
        )
        self.deny_list = DenyList(clock=lambda: self.now)
        self.revocation = Revocation(
            sessions=self.sessions,
            deny_list=self.deny_list,
            clock=lambda: self.now,
        )
        self.lasting = pipeline.Lasting(
            sessions=self.sessions,
            credentials=self.credentials,
            deny_list=self.deny_list,
            signer=self.signer,
            slots=slots or StreamSlots(),
            observer=Observer(metrics=self.metrics, audit=audit, sample_allows=sample_allows, tracer=tracer),
            metrics=self.metrics,
            buckets=TokenBuckets(timer=lambda: int(self.now * SECOND)),
        )
        self.pipeline = pipeline.build(
            self.lasting,
            resource=ProtectedResource(
                url="https://mcp.example/mcp", authorization_servers=["https://idp.example"]
            ),
            origins=Origins(frozenset(allowed_origins)),
            targets=TargetTable(list(targets)),
            verifier=self.verifier,
            policy=self.policy,
            deadline=5.0,
            max_body_bytes=max_body_bytes,
            observe_upstream=answers,
            pause=0,
            remember_heads=remember_heads,
            check_one_head_in=check_one_head_in,
            rate_limits=rate_limits,
            with_metadata=with_metadata,
        )

    def end_credentials(self):
        """End all credentials, but no session."""
        for session in self.sessions.values():
            for granted, _ in session.living():
                self.sessions.end_credentials(session, granted)

    def forget_refusals(self):
        """As if STS had refused nobody so far."""
        for session in self.sessions.values():
            for granted in session.grants:
                granted.refusal = None


def denial(reason=Reason.NO_ROLE):
    return Denied(reason, "told to")
