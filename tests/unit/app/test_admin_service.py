"""The admin API of one process: it shows everything but secrets."""

import asyncio
import json
import os
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from google.protobuf.json_format import ParseDict

from extproc import config, struct_values
from extproc.admin.errors import RefusedError
from extproc.admin.v1 import admin_pb2
from extproc.app.admin_service import _digest
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.keys import KeyDocument, KeyStore, RefreshPolicy
from extproc.sessions.session import token_digest
from extproc.sts.breaker import State
from extproc.telemetry.recent import RecentEvents
from extproc.values import ChainedRole, Grant, Identity
from support.admin import ROLE, SETTINGS, Context, admin_service, explanation, revoke, sessions, status
from support.pipelines import NOW, Parts
from support.tables import each_case
from support.tokens import ec_key, key_set, public_jwk

CHAINED = "arn:aws:iam::210987654321:role/Further"


async def opened(parts, subject, *, claims=None, roles=(ROLE,), chained=None):
    identity = Identity("https://idp.example", subject, NOW + 600, {"sub": subject, **(claims or {})}, b"k")
    token = f"canary-token-{subject}"
    session = parts.sessions.open(token_digest(token), identity, token)
    for role in roles:
        grant = Grant(role, subject, 900, "m", chain=ChainedRole(chained) if chained else None)
        await parts.credentials.obtain(session, session.granted(grant))
    return session


async def test_a_session_is_shown_without_its_secrets():
    parts = Parts()
    session = await opened(parts, "alice", claims={"jti": "j1"}, chained=CHAINED)
    parts.now = NOW + 5
    (shown,) = await sessions(admin_service(parts))
    assert (shown.issuer, shown.subject, shown.jti) == ("https://idp.example", "alice", "j1")
    assert shown.token_expires_at.ToSeconds() == NOW + 600
    (held,) = shown.credentials
    assert (held.mapping, held.role_arn, held.chained_role_arn) == ("m", ROLE, CHAINED)
    assert (held.session_name, held.access_key_id) == ("alice", f"ASIA{1:016d}")
    times = (held.obtained_at, held.last_used_at, held.expires_at)
    assert [time.ToSeconds() for time in times] == [NOW, NOW, NOW + 900]
    for secret in ("canary", "s" * 40, "session-token", session.digest.hex()[:16]):
        assert secret not in str(shown)


async def test_the_id_of_a_session_is_stable_and_differs_between_processes():
    parts = Parts()
    await opened(parts, "alice")
    one, other = admin_service(parts), admin_service(parts)
    assert await sessions(one) == await sessions(one)
    assert (await sessions(one))[0].id != (await sessions(other))[0].id


@each_case(
    ("conditions", "subjects"),
    [
        ({}, {"alice", "bob", "carol"}),
        ({"subject": "bob"}, {"bob"}),
        ({"jti": "j1"}, {"alice"}),
        ({"issuer": "https://other.example"}, set()),
        ({"role_arn": ROLE}, {"alice", "bob"}),
        ({"role_arn": CHAINED}, {"bob"}),
        ({"role_arn": ROLE, "subject": "alice"}, {"alice"}),
    ],
)
async def test_sessions_are_found_by_any_conditions(conditions, subjects):
    parts = Parts()
    await opened(parts, "alice", claims={"jti": "j1"})
    await opened(parts, "bob", chained=CHAINED)
    await opened(parts, "carol", roles=())
    found = await sessions(admin_service(parts), **conditions)
    assert {session.subject for session in found} == subjects


@each_case("jti", [7, ["x"], None, {"a": 1}])
async def test_a_token_id_that_is_not_a_string_is_not_shown(jti):
    parts = Parts()
    await opened(parts, "alice", claims={"jti": jti})
    assert not (await sessions(admin_service(parts)))[0].jti


async def test_listing_does_not_count_as_use():
    parts = Parts()
    session = await opened(parts, "alice")
    parts.now = NOW + 50
    service = admin_service(parts)
    await sessions(service)
    (shown,) = await sessions(service)
    assert shown.credentials[0].last_used_at.ToSeconds() == NOW
    parts.credentials.living(session.granted(Grant(ROLE, "alice", 900, "m")))
    (shown,) = await sessions(service)
    assert shown.credentials[0].last_used_at.ToSeconds() == NOW + 50


async def test_claims_are_explained_by_the_running_policy_as_by_extproc_explain():
    facts = await explanation(admin_service(Parts()), {"sub": "alice", "groups": ["admins"]})
    contract = {
        "outcome": "allow",
        "reason": None,
        "mapping": "admins",
        "role_arn": ROLE,
        "session_name": "alice",
        "session_duration": 900,
        "policy_arns": [],
        "policy": None,
    }
    assert {name: facts[name] for name in contract} == contract
    (entry,) = facts["evaluated"]
    assert (entry["name"], entry["priority"], entry["matched"], entry["error"]) == ("admins", 1, True, None)
    denied = await explanation(admin_service(Parts()), {})
    assert (denied["outcome"], denied["reason"]) == ("deny", "no_role")


async def test_explanations_use_the_deny_list_and_leave_nothing_in_the_caches():
    parts = Parts()
    service = admin_service(parts)
    claims = {"sub": "alice", "groups": ["admins"]}
    assert (await explanation(service, claims, {}))["outcome"] == "allow"
    await revoke(service, subject="alice", seconds=60)
    for request in (None, {}):
        assert (await explanation(service, claims, request))["reason"] == "revoked"
    assert (parts.exchange.calls, len(parts.sessions), parts.sessions.credentials) == (0, 0, 0)


@pytest.mark.parametrize(
    ("claims", "asked", "message"),
    [
        ({"n": 2**60}, None, "claims: a number is too large"),
        ({}, {"verb": "GET"}, "request: unknown member 'verb'"),
        ({}, {"path": "mcp"}, "request: "),
    ],
)
async def test_an_unusable_explain_request_is_refused_with_the_reason(claims, asked, message):
    with pytest.raises(RefusedError, match=message):
        await explanation(admin_service(Parts()), claims, asked)


async def test_a_revocation_returns_what_it_dropped_and_until_when_it_refuses():
    parts = Parts()
    await opened(parts, "alice", roles=(ROLE, ROLE + "2"))
    await opened(parts, "bob")
    service = admin_service(parts)
    done = await revoke(service, subject="alice", seconds=60)
    assert (done.sessions, done.credentials, done.refused_until.ToSeconds()) == (1, 2, NOW + 60)
    assert json.loads(done.role_policy)["Statement"][0]["Effect"] == "Deny"
    assert [session.subject for session in await sessions(service)] == ["bob"]
    done = await revoke(service, role_arn=ROLE)
    assert (done.sessions, done.credentials, done.HasField("refused_until")) == (0, 1, False)
    with pytest.raises(RefusedError, match="not by role"):
        await revoke(service, role_arn=ROLE, seconds=1)


class Provider:
    def __init__(self, body=None):
        self.body = body

    async def fetch(self):
        if self.body is None:
            raise KeyDocumentError("HTTP 500")
        return KeyDocument(self.body)


async def test_the_status_has_the_age_and_failure_of_every_key_set():
    parts = Parts()
    good = key_set(public_jwk(ec_key(), kid="k1"))
    providers = {"good": Provider(good), "bad": Provider(), "stale": Provider(good)}
    stores = {
        name: KeyStore(issuer=name, source=provider, clock=lambda: parts.now, refresh=RefreshPolicy())
        for name, provider in providers.items()
    }
    await asyncio.gather(*(store.refresh() for store in stores.values()))
    providers["stale"].body = None
    parts.now += 100
    await stores["stale"].refresh()
    shown = await status(admin_service(parts, key_stores=stores))
    assert {each.issuer: (each.usable, each.keys, each.failure) for each in shown.key_sets} == {
        "good": (True, 1, ""),
        "bad": (False, 0, "HTTP 500"),
        "stale": (True, 1, "HTTP 500"),
    }
    for each in shown.key_sets:
        fetched = each.issuer != "bad"
        assert (each.HasField("fetched_at"), each.HasField("age")) == (fetched, fetched)
        if fetched:
            assert (each.fetched_at.ToSeconds(), each.age.ToSeconds()) == (NOW, 100)


async def test_the_status_has_the_counts_and_the_problems():
    parts = Parts()
    await opened(parts, "alice", roles=(ROLE, ROLE + "2"))
    service = admin_service(parts, unready=["why"], degraded=["bad"], problems=["a: b"])
    await revoke(service, subject="bob", seconds=60)
    parts.now += 90
    shown = await status(service)
    assert (shown.worker, shown.pid, shown.version) == (0, os.getpid(), version("extproc-sigv4"))
    assert (shown.started_at.ToSeconds(), shown.uptime.ToSeconds()) == (NOW, 90)
    assert (shown.sessions, shown.credentials, shown.revocations, shown.exchanges_waiting) == (1, 2, 0, 6)
    assert (shown.ready, list(shown.reasons), list(shown.degraded)) == (False, ["why"], ["bad"])
    assert (shown.configuration.loaded_at.ToSeconds(), list(shown.configuration.problems)) == (
        NOW - 5,
        ["a: b"],
    )
    assert shown.clock_offset.ToMilliseconds() == 0
    assert (await status(admin_service(parts))).ready


@pytest.mark.parametrize("state", list(State))
async def test_every_state_of_the_breaker_has_a_name(state):
    service = admin_service(Parts())
    service._state.breaker = SimpleNamespace(state=state)
    assert admin_pb2.BreakerState.Name((await status(service)).breaker) == f"BREAKER_STATE_{state.name}"


def test_only_equal_configurations_have_equal_digests():
    settings = config.parse(SETTINGS)
    assert _digest(settings) == _digest(config.parse(SETTINGS.replace("\n", "\n# comment\n")))
    assert _digest(settings) != _digest(config.parse(SETTINGS + "session_duration: 1800\n"))


def reference(shown):
    return admin_pb2.SessionReference(id=shown.id, worker=shown.worker)


async def test_a_session_is_shown_with_its_claims_to_those_who_ask_for_it():
    parts = Parts()
    await opened(parts, "alice", claims={"groups": ["admins"], "n": {"a": [1, True, None]}})
    service = admin_service(parts)
    (shown,) = await sessions(service)
    answer = await service.GetSession(admin_pb2.GetSessionRequest(session=reference(shown)), None)
    assert answer.session == shown
    assert struct_values.plain(answer.claims) == {
        "sub": "alice",
        "groups": ["admins"],
        "n": {"a": [1, True, None]},
    }
    assert "canary" not in str(answer)


async def test_a_session_that_has_ended_or_is_of_another_worker_is_refused():
    parts = Parts()
    session = await opened(parts, "alice")
    service = admin_service(parts)
    (shown,) = await sessions(service)
    foreign = admin_pb2.SessionReference(id=shown.id, worker=7)
    parts.sessions.end(session)
    for which in (reference(shown), foreign):
        with pytest.raises(RefusedError, match="session"):
            await service.GetSession(admin_pb2.GetSessionRequest(session=which), None)


async def test_a_living_session_is_explained_without_its_claims():
    parts = Parts()
    await opened(parts, "alice", claims={"groups": ["canary-group"]})
    service = admin_service(parts)
    (shown,) = await sessions(service)
    answer = await service.Explain(admin_pb2.ExplainRequest(session=reference(shown)), None)
    explained = struct_values.plain(answer.explanation)
    assert explained["claims"] == ["groups", "sub"]
    assert "canary" not in str(explained)


async def test_a_token_is_verified_before_it_is_explained():
    service = admin_service(Parts())
    answer = await service.Explain(admin_pb2.ExplainRequest(unverified_token="canary.a.b"), None)
    explained = struct_values.plain(answer.explanation)
    assert explained["reason"] == "token_malformed"
    assert "canary" not in str(explained)


@pytest.mark.parametrize(
    "fields",
    [{}, {"claims": {}, "unverified_token": "a.b.c"}, {"session": {"id": "1"}, "unverified_token": "a.b.c"}],
)
async def test_an_explanation_is_of_one_thing(fields):
    request = ParseDict(fields, admin_pb2.ExplainRequest())
    with pytest.raises(RefusedError, match="exactly one"):
        await admin_service(Parts()).Explain(request, None)


async def revocations(service):
    answer = await service.ListRevocations(admin_pb2.ListRevocationsRequest(), None)
    return [(each.issuer, each.subject, each.jti) for each in answer.revocations]


async def test_a_revocation_is_listed_until_it_ends_or_is_taken_back():
    parts = Parts()
    service = admin_service(parts)
    await revoke(service, subject="alice", seconds=60)
    await revoke(service, subject="bob", issuer="https://idp.example", seconds=30)
    await revoke(service, jti="j1", seconds=90)
    assert await revocations(service) == [
        ("https://idp.example", "bob", ""),
        ("", "alice", ""),
        ("", "", "j1"),
    ]
    parts.now += 31
    lift = admin_pb2.LiftRevocationRequest(subject="alice")
    assert (await service.LiftRevocation(lift, Context())).lifted
    assert not (await service.LiftRevocation(lift, Context())).lifted
    assert await revocations(service) == [("", "", "j1")]
    with pytest.raises(RefusedError, match="needs an issuer"):
        await service.LiftRevocation(admin_pb2.LiftRevocationRequest(), Context())


async def test_decisions_come_from_the_audit_log_page_by_page():
    recent = RecentEvents()
    recent.append(b'{"a":1}\n{"a":2}\n', 2)
    service = admin_service(Parts(), audit=SimpleNamespace(recent=recent))
    first = await service.ListDecisions(admin_pb2.ListDecisionsRequest(limit=1), None)
    assert (list(first.events), first.more) == (['{"a":1}'], True)
    second = await service.ListDecisions(admin_pb2.ListDecisionsRequest(cursor=first.next_cursor), None)
    assert (list(second.events), second.more, second.missed) == (['{"a":2}'], False, False)


@each_case(
    ("audit", "fields"),
    [
        (None, {}),
        (SimpleNamespace(recent=None), {}),
        (SimpleNamespace(recent=RecentEvents()), {"cursor": "x"}),
        (SimpleNamespace(recent=RecentEvents()), {"limit": -1}),
    ],
)
async def test_decisions_that_are_not_kept_or_not_asked_for_well_are_refused(audit, fields):
    with pytest.raises(RefusedError):
        await admin_service(Parts(), audit=audit).ListDecisions(
            admin_pb2.ListDecisionsRequest(**fields), None
        )


async def test_an_explanation_says_what_would_have_to_be_different_for_a_role():
    request = ParseDict({"claims": {"sub": "x", "groups": []}, "why_not": ROLE}, admin_pb2.ExplainRequest())
    answer = await admin_service(Parts()).Explain(request, Context())
    assert struct_values.plain(answer.explanation)["why_not"]["role"] == ROLE
