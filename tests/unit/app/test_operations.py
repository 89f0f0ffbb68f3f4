"""What operators see of a running process: everything but secrets."""

import asyncio
import json

import pytest

from extproc import config
from extproc.admin.operations import RefusedError
from extproc.app.operations import _digest
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.keys import KeyDocument, KeyStore, RefreshPolicy
from extproc.sessions.revocation import Selector
from extproc.sessions.sessions import token_digest
from extproc.values import ChainedRole, Grant, Identity, Session
from support.admin import ROLE, SETTINGS, operations
from support.pipelines import NOW, Parts
from support.tokens import ec_key, key_set, public_jwk

CHAINED = "arn:aws:iam::210987654321:role/Further"


async def opened(parts, subject, *, claims=None, roles=(ROLE,), chained=None):
    identity = Identity("https://idp.example", subject, NOW + 600, {"sub": subject, **(claims or {})}, b"k")
    token = f"canary-token-{subject}"
    session = Session(token_digest(token), identity, token)
    parts.sessions.put(session)
    for role in roles:
        grant = Grant(role, subject, 900, "m", chain=ChainedRole(chained) if chained else None)
        await parts.credentials.obtain(session, grant)
    return session


async def test_a_session_is_shown_with_everything_but_its_secrets():
    parts = Parts()
    session = await opened(parts, "alice", claims={"jti": "j1"}, chained=CHAINED)
    parts.now = NOW + 5
    (view,) = operations(parts).sessions(Selector())
    assert (view.issuer, view.subject, view.jti) == ("https://idp.example", "alice", "j1")
    assert view.expires_at == NOW + 600
    (held,) = view.credentials
    assert (held.mapping, held.role_arn, held.chained_role_arn) == ("m", ROLE, CHAINED)
    assert (held.session_name, held.access_key_id) == ("alice", f"ASIA{1:016d}")
    assert (held.obtained_at, held.used_at, held.expires_at) == (NOW, NOW, NOW + 900)
    shown = repr(view)
    for secret in ("canary", "s" * 40, "session-token", session.digest.hex()[:16]):
        assert secret not in shown


async def test_the_id_of_a_session_lasts_and_is_another_one_in_every_process():
    parts = Parts()
    await opened(parts, "alice")
    one, other = operations(parts), operations(parts)
    assert one.sessions(Selector()) == one.sessions(Selector())
    assert one.sessions(Selector())[0].id != other.sessions(Selector())[0].id


@pytest.mark.parametrize(
    ("selector", "subjects"),
    [
        (Selector(), {"alice", "bob", "carol"}),
        (Selector(subject="bob"), {"bob"}),
        (Selector(token_id="j1"), {"alice"}),
        (Selector(issuer="https://other.example"), set()),
        (Selector(role_arn=ROLE), {"alice", "bob"}),
        (Selector(role_arn=CHAINED), {"bob"}),
        (Selector(role_arn=ROLE, subject="alice"), {"alice"}),
    ],
)
async def test_sessions_are_found_by_any_conditions(selector, subjects):
    parts = Parts()
    await opened(parts, "alice", claims={"jti": "j1"})
    await opened(parts, "bob", chained=CHAINED)
    await opened(parts, "carol", roles=())
    assert {view.subject for view in operations(parts).sessions(selector)} == subjects


@pytest.mark.parametrize("jti", [7, ["x"], None, {"a": 1}])
async def test_a_token_id_that_is_no_text_is_not_shown(jti):
    parts = Parts()
    await opened(parts, "alice", claims={"jti": jti})
    assert operations(parts).sessions(Selector())[0].jti is None


async def test_looking_does_not_count_as_use():
    parts = Parts()
    session = await opened(parts, "alice")
    parts.now = NOW + 50
    asked = operations(parts)
    asked.sessions(Selector())
    (view,) = asked.sessions(Selector())
    assert view.credentials[0].used_at == NOW
    parts.credentials.get(session, Grant(ROLE, "alice", 900, "m"))
    assert asked.sessions(Selector())[0].credentials[0].used_at == NOW + 50


async def test_a_claim_set_is_decided_by_the_running_policy_as_extproc_explain_tells_it():
    facts = await operations(Parts()).explain(b'{"sub": "alice", "groups": ["admins"]}', None)
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
    denied = await operations(Parts()).explain(b"{}", None)
    assert (denied["outcome"], denied["reason"]) == ("deny", "no_role")


async def test_whom_the_deny_list_names_is_denied_in_explanations_too_and_nothing_is_kept():
    parts = Parts()
    asked = operations(parts)
    claims = b'{"sub": "alice", "groups": ["admins"]}'
    assert (await asked.explain(claims, b"{}"))["outcome"] == "allow"
    asked.revoke(Selector(subject="alice"), refuse_for=60)
    for request in (None, b"{}"):
        assert (await asked.explain(claims, request))["reason"] == "revoked"
    assert (parts.exchange.calls, len(parts.sessions), len(parts.credentials)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("claims", "asked", "message"),
    [
        (b"[]", None, "claims: "),
        (b'{"a": 1, "a": 2}', None, "claims: "),
        (b"{}", b'{"verb": "GET"}', "request: unknown member 'verb'"),
        (b"{}", b'{"path": "mcp"}', "request: "),
    ],
)
async def test_what_cannot_be_explained_is_refused_with_the_reason(claims, asked, message):
    with pytest.raises(RefusedError, match=message):
        await operations(Parts()).explain(claims, asked)


async def test_a_revocation_tells_what_it_dropped_and_until_when_it_refuses():
    parts = Parts()
    await opened(parts, "alice", roles=(ROLE, ROLE + "2"))
    await opened(parts, "bob")
    done = operations(parts).revoke(Selector(subject="alice"), refuse_for=60)
    assert (done.sessions, done.credentials, done.refused_until) == (1, 2, NOW + 60)
    assert json.loads(done.role_policy)["Statement"][0]["Effect"] == "Deny"
    assert [view.subject for view in operations(parts).sessions(Selector())] == ["bob"]
    done = operations(parts).revoke(Selector(role_arn=ROLE), refuse_for=0)
    assert (done.sessions, done.credentials, done.refused_until) == (0, 1, None)
    with pytest.raises(RefusedError, match="not by role"):
        operations(parts).revoke(Selector(role_arn=ROLE), refuse_for=1)


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
    status = operations(
        parts, key_stores=stores, unready=["why"], degraded=["bad"], problems=["a: b"]
    ).status()
    shown = {each.issuer: (each.usable, each.keys, each.fetched_at, each.failure) for each in status.key_sets}
    assert shown == {
        "good": (True, 1, NOW, None),
        "bad": (False, 0, None, "HTTP 500"),
        "stale": (True, 1, NOW, "HTTP 500"),
    }
    assert status.degraded == ("bad",)
    assert (status.unready, status.configuration.problems) == (("why",), ("a: b",))


def test_configurations_that_mean_the_same_have_the_same_digest_and_others_not():
    settings = config.parse(SETTINGS)
    assert _digest(settings) == _digest(config.parse(SETTINGS.replace("\n", "\n# comment\n")))
    assert _digest(settings) != _digest(config.parse(SETTINGS + "session_duration: 1800\n"))
