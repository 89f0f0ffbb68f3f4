"""Records as the pipeline would have filled them, and where events go in tests."""

from extproc.fairness.stream_slots import OUTCOMES, SlotCounts
from extproc.telemetry.record import RequestRecord
from extproc.telemetry.state import GaugeSources, SharedStoreCounts
from extproc.values import Grant, Identity, RequestHead
from support.pipelines import NOW

GRANT = Grant("arn:aws:iam::123456789012:role/Admin", "alice", 900, "admins")

SOURCES = GaugeSources(
    ready=lambda: True,
    entries={"sessions": lambda: 3, "credentials": lambda: 2},
    evictions={"sessions": lambda: 1, "credentials": lambda: 0},
    refreshes=lambda: {"ok": 4, "failed": 1},
    token_exchange_breakers=lambda: {"https://idp.example": 1},
    token_exchanges_waiting=lambda: 4,
    breaker=lambda: 2,
    clock_offset=lambda: -7.5,
    slots=lambda: {"aws-mcp": SlotCounts(27, 20, 3, dict.fromkeys(OUTCOMES, 1))},
    exchanges_waiting=lambda: 5,
    jwks_ages=lambda: {"https://idp.example": float("inf")},
    audit_queued=lambda: 6,
    audit_events=lambda: {"written": 8, "dropped": 9, "failed": 0},
    waits_for_restart=lambda: {"sts": True, "cache": False},
    shared_store=lambda: SharedStoreCounts(
        calls={"ok": 11, "slow": 1},
        lookups={"hit": 7, "miss": 4},
        writes={"stored": 4},
        waits=2,
        writes_waiting=3,
        breaker=2,
        poll_age=float("inf"),
        unusable_revocations=1,
    ),
)


def head(*, method="POST", path="/mcp?secret=1", headers=(), token="eyJ.canary.token"):
    sent = (("authorization", f"Bearer {token}"), ("cookie", "canary-cookie"), *headers)
    return RequestHead(method, path, "mcp.example", tuple(sent), True)


def identity(subject="alice", **claims):
    return Identity("https://idp.example", subject, NOW + 600, {"sub": subject, **claims}, b"k")


def record(*, decision="allow", reason="", **fields):
    made = RequestRecord()
    made.decision, made.reason = decision, reason
    for name, value in {"head": head(), "target": "aws-mcp", **fields}.items():
        setattr(made, name, value)
    return made


class ListAudit:
    """An audit log that keeps events in a list."""

    def __init__(self):
        self.events = []

    def append(self, event):
        self.events.append(event)
