"""Ending sessions before their time."""

import asyncio
import json
import threading
from dataclasses import replace

import pytest

from extproc.errors import Denied, Reason
from extproc.sessions.revocation import MAX_ENTRIES, DenyList, Revocation, Selector, revocation_policy
from extproc.values import ChainedRole
from support.credentials import HOUR, ROLE, START, FakeClock, Store, grant, session
from support.tables import each_case

ADMIN = "arn:aws:iam::123456789012:role/Admin"
ALICE = session("a.l.1", claims={"jti": "j1"})
ALICES_OTHER = session("a.l.2", claims={"jti": "j2"}, granted=grant(role_arn=ADMIN))
BOB = session("b.o.b", subject="bob", claims={"jti": "j3"})


class Parts(Store):
    def __init__(self):
        super().__init__(max_entries=100)
        self.deny_list = DenyList(clock=self.clock)
        self.revocation = Revocation(sessions=self.table, deny_list=self.deny_list, clock=self.clock)

    async def opened(self):
        for each in (ALICE, ALICES_OTHER, BOB):
            await self.obtain(each)
        return self


@each_case(
    ("selector", "ended"),
    [
        (Selector(subject="alice"), {ALICE.digest, ALICES_OTHER.digest}),
        (Selector(token_id="j2"), {ALICES_OTHER.digest}),
        (Selector(role_arn=ADMIN), {ALICES_OTHER.digest}),
        (Selector(issuer="https://idp.example", subject="bob"), {BOB.digest}),
        (Selector(issuer="https://other.example"), set()),
        (Selector(), {ALICE.digest, ALICES_OTHER.digest, BOB.digest}),
    ],
)
async def test_the_selected_sessions_end_with_their_credentials_and_no_others(selector, ended):
    parts = await Parts().opened()
    done = parts.revocation.revoke(selector)
    assert (done.sessions, done.credentials) == (len(ended) if selector.role_arn is None else 0, len(ended))
    for opened in (ALICE, ALICES_OTHER, BOB):
        # A role is of the grant: the session itself goes on, and is granted what policy says.
        session_ends = selector.role_arn is None and opened.digest in ended
        assert (parts.table.lookup(opened.digest) is None) == session_ends
        assert (parts.get(opened) is None) == (opened.digest in ended)


async def test_the_owners_are_kept_out_until_the_time_given():
    parts = await Parts().opened()
    parts.revocation.revoke(Selector(subject="alice"), deny_until=START + 100)
    assert parts.deny_list.refuses(ALICE.identity)
    assert not parts.deny_list.refuses(BOB.identity)
    parts.clock.now = START + 100
    assert not parts.deny_list.refuses(ALICE.identity)


async def test_a_deny_list_entry_needs_an_issuer_a_subject_or_a_token_id():
    parts = await Parts().opened()
    with pytest.raises(ValueError, match="an issuer, a subject or a token id"):
        parts.revocation.revoke(Selector(), deny_until=START + 100)
    with pytest.raises(ValueError, match="not by role"):
        parts.revocation.revoke(Selector(subject="alice", role_arn=ADMIN), deny_until=START + 100)


async def test_all_of_an_issuer_can_be_kept_out():
    parts = await Parts().opened()
    parts.revocation.revoke(Selector(issuer="https://idp.example"), deny_until=START + 100)
    assert parts.deny_list.refuses(ALICE.identity)
    assert parts.deny_list.refuses(BOB.identity)
    assert not parts.deny_list.refuses(replace(BOB.identity, issuer="https://other.example"))


async def test_all_conditions_must_hold_for_somebody_to_be_kept_out():
    parts = await Parts().opened()
    parts.revocation.revoke(Selector(issuer="https://other.example", subject="alice"), deny_until=START + 9)
    parts.revocation.revoke(Selector(subject="bob", token_id="j1"), deny_until=START + 9)
    assert not parts.deny_list.refuses(ALICE.identity)
    assert not parts.deny_list.refuses(BOB.identity)


async def test_of_chained_roles_either_ends_the_credentials():
    for role in (ROLE, ADMIN):
        parts = Parts()
        chained = session("c.h.a", granted=grant(role_arn=ROLE, chain=ChainedRole(ADMIN)))
        await parts.obtain(chained)
        assert parts.revocation.revoke(Selector(role_arn=role)).credentials == 1


@each_case("selector", [Selector(subject="alice"), Selector(subject="alice", role_arn=ROLE)])
@each_case("renewal", [False, True])
async def test_an_exchange_under_way_does_not_bring_back_what_is_dropped_meanwhile(renewal, selector):
    parts = Parts()
    if renewal:
        await parts.obtain(ALICE)
        parts.clock.now = START + 0.9 * HOUR
        parts.get(ALICE)
    parts.exchange.gate.clear()
    under_way = parts.store.renew_due() if renewal else [asyncio.ensure_future(parts.obtain(ALICE))]
    for _ in range(3):
        await asyncio.sleep(0)
    others = asyncio.ensure_future(parts.obtain(BOB))
    for _ in range(3):
        await asyncio.sleep(0)
    parts.revocation.revoke(selector)
    parts.exchange.gate.set()
    assert len(await asyncio.gather(*under_way, others)) == 2
    assert parts.get(ALICE) is None
    assert parts.get(BOB) is not None


async def test_after_a_revocation_an_exchange_that_was_under_way_is_not_joined():
    parts = Parts()
    parts.exchange.gate.clear()
    before = asyncio.ensure_future(parts.obtain(ALICE))
    for _ in range(3):
        await asyncio.sleep(0)
    parts.revocation.revoke(Selector(role_arn=ROLE))
    after = asyncio.ensure_future(parts.obtain(ALICE))
    for _ in range(3):
        await asyncio.sleep(0)
    parts.exchange.gate.set()
    first, second = await asyncio.gather(before, after)
    assert first is not second
    assert parts.get(ALICE) is second


def test_the_list_can_be_read_while_it_grows():
    clock = FakeClock()
    deny_list = DenyList(clock=clock)
    deny_list.add(Selector(subject="alice", token_id="other"), until=START + 10)
    growing = threading.Event()

    def grow():
        for n in range(3000):
            deny_list.add(Selector(issuer=f"i{n}", subject="alice"), until=START + 10)
        growing.set()

    thread = threading.Thread(target=grow)
    thread.start()
    while not growing.is_set():
        assert not deny_list.refuses(ALICE.identity)
    thread.join()


def test_a_later_shorter_ban_does_not_shorten_an_earlier_one():
    clock = FakeClock()
    deny_list = DenyList(clock=clock)
    deny_list.add(Selector(subject="alice"), until=START + 100)
    deny_list.add(Selector(subject="alice"), until=START + 10)
    clock.now = START + 50
    assert deny_list.refuses(ALICE.identity)


def test_a_full_list_refuses_rather_than_forget_somebody():
    clock = FakeClock()
    deny_list = DenyList(clock=clock)
    for n in range(MAX_ENTRIES):
        deny_list.add(Selector(subject=f"s{n}"), until=START + 10)
    with pytest.raises(ValueError, match="full"):
        deny_list.add(Selector(subject="one more"), until=START + 10)
    clock.now = START + 10
    deny_list.add(Selector(subject="one more"), until=START + 20)


@pytest.mark.parametrize("revoked_at", [1_440_938_160, 1_440_938_159.001])
def test_the_role_policy_ends_credentials_that_aws_has_handed_out(revoked_at):
    # AWS's times are whole seconds: what was issued in the second of the revocation must end too.
    policy = json.loads(revocation_policy(issued_before=revoked_at))
    (statement,) = policy["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"DateLessThan": {"aws:TokenIssueTime": "2015-08-30T12:36:00Z"}}


@each_case(
    ("selector", "reason"),
    [
        (Selector(subject=ALICE.identity.subject), Reason.REVOKED),
        (Selector(issuer=ALICE.identity.issuer), Reason.REVOKED),
        (Selector(token_id="j1"), Reason.TOKEN_REVOKED),
        (Selector(subject=ALICE.identity.subject, token_id="j1"), Reason.TOKEN_REVOKED),
    ],
)
def test_whoever_cannot_come_back_with_another_token_is_not_sent_to_log_in(selector, reason):
    deny_list = DenyList(clock=lambda: START)
    deny_list.refuse(ALICE.identity)
    deny_list.add(selector, until=START + 60)
    with pytest.raises(Denied) as denied:
        deny_list.refuse(ALICE.identity)
    assert denied.value.reason is reason
    assert (reason.outcome.status == 401) is (reason is Reason.TOKEN_REVOKED)


def test_what_is_refused_is_listed_and_one_entry_can_be_removed():
    clock = FakeClock()
    deny_list = DenyList(clock=clock)
    issuer = Selector(issuer=ALICE.identity.issuer)
    alice = Selector(subject=ALICE.identity.subject)
    alices_here = Selector(subject=ALICE.identity.subject, issuer=ALICE.identity.issuer)
    deny_list.add(issuer, until=START + 30)
    deny_list.add(alice, until=START + 20)
    deny_list.add(alices_here, until=START + 10)
    assert deny_list.entries() == [
        (alices_here, START + 10),
        (alice, START + 20),
        (issuer, START + 30),
    ]
    assert deny_list.remove(alice)
    assert not deny_list.remove(alice)
    assert deny_list.remove(issuer)
    assert (len(deny_list), deny_list.refuses(ALICE.identity)) == (1, True)
    clock.now = START + 10
    assert not deny_list.remove(alices_here)
    assert deny_list.entries() == []
    assert not deny_list.refuses(ALICE.identity)
    with pytest.raises(ValueError, match="needs an issuer"):
        deny_list.remove(Selector(role_arn=ADMIN))
