"""A candidate configuration is compared with the running one, and can do it no harm."""

import asyncio
import copy
import threading
import time
from types import SimpleNamespace

import pytest
import yaml
from google.protobuf.json_format import MessageToDict

from extproc.admin.errors import RefusedError
from extproc.admin.v1 import admin_pb2
from extproc.app import shadow as shadow_module
from extproc.app.factories import build_policy
from extproc.app.shadow import Shadow
from extproc.config.document import validate
from extproc.policy.inputs import NO_INPUTS, Inputs
from extproc.sessions.decisions import Decisions
from extproc.sessions.session import Session, token_digest
from extproc.values import Identity
from extproc.workers.fanout import FanOut
from support.admin import SETTINGS, Context, admin_service
from support.pipelines import NOW, Parts

ROLE = "arn:aws:iam::123456789012:role/"
BASE = {
    "resource": {"url": "https://mcp.example/mcp"},
    "issuers": [{"issuer": "https://idp.example", "audiences": ["https://mcp.example/mcp"]}],
    "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
    "role_mappings": [{"name": "admins", "claim": "admins", "role_arn": ROLE + "Admin"}],
}
ADMIN = {"sub": "secret-name", "groups": ["admins"]}


def identity(claims, issuer="https://idp.example"):
    return Identity(issuer, "secret-name", NOW + 600, claims, b"k")


class Trial:
    """A running policy, and a candidate that replaces members of its configuration."""

    def __init__(self, folder):
        self.path = folder / "next.yaml"
        self.outcomes = []
        self.shadow = Shadow(clock=lambda: NOW, on_outcome=self.outcomes.append)
        self.running = build_policy(validate(copy.deepcopy(BASE)))

    def load(self, **members):
        if members:
            self.path.write_text(yaml.safe_dump({**BASE, **members}))
        self.shadow.load(validate({**copy.deepcopy(BASE), "shadow": str(self.path)}))

    def submit(self, claims, inputs=NO_INPUTS, *, policy=None, **more):
        policy = policy or self.running
        who = identity(claims, **more)
        self.shadow.submit(policy, who, inputs, policy.decide(who, inputs))

    def wait(self, count):
        for _ in range(2000):
            if len(self.outcomes) >= count:
                break
            time.sleep(0.005)
        return self.outcomes


@pytest.fixture
def trial(tmp_path):
    made = Trial(tmp_path)
    yield made
    made.shadow.close()


def test_without_a_candidate_nothing_is_decided(trial):
    trial.submit(ADMIN)
    assert (trial.outcomes, trial.shadow.candidate, trial.shadow._thread) == ([], None, None)


def test_each_decision_is_compared_with_the_candidates_without_what_belongs_to_a_user(trial):
    guest = {"name": "guests", "claim": "guests", "role_arn": ROLE + "Guest"}
    trial.load(role_mappings=[*BASE["role_mappings"], guest])
    trial.submit(ADMIN)
    trial.submit({"sub": "secret-name", "groups": ["guests"]})
    trial.submit({"sub": "other", "groups": ["guests"]})
    assert trial.wait(3) == ["same", "widened", "widened"]
    counts, (seen,) = trial.shadow.summary()
    assert counts == {"same": 1, "widened": 2}
    assert (seen.count, seen.before.denied, seen.after.mapping) == (2, "no_role", "guests")
    assert "secret" not in repr(seen) + str(seen.after) + seen.after.session_name


def test_an_issuer_that_the_candidate_does_not_trust_is_denied(trial):
    trial.load(issuers=[{"issuer": "https://new.example", "audiences": ["a"]}])
    trial.submit(ADMIN)
    assert trial.wait(1) == ["narrowed"]


def test_what_the_running_policy_does_not_have_read_is_not_compared(trial):
    trial.load(role_mappings=[{"name": "t", "matcher": 'mcp.tool == "t"', "role_arn": ROLE + "T"}])
    trial.submit(ADMIN)
    assert trial.wait(1) == ["unseen"]
    reads = build_policy(
        validate(
            {
                **copy.deepcopy(BASE),
                "role_mappings": [{"name": "t", "matcher": 'mcp.tool != "x"', "role_arn": ROLE + "T"}],
            }
        )
    )
    trial.submit(ADMIN, Inputs(mcp={"tool": "t", "arguments": {"a": "b"}}), policy=reads)
    assert trial.wait(2)[1] == "same"


def running_with(matcher, **more):
    mapping = {"name": "r", "matcher": matcher, "role_arn": ROLE + "R"}
    return build_policy(validate({**copy.deepcopy(BASE), "role_mappings": [mapping], **more}))


def candidate_with(trial, matcher, **more):
    trial.load(role_mappings=[{"name": "r", "matcher": matcher, "role_arn": ROLE + "R", **more}])


COMMAND = {"tool": "aws___call_aws", "arguments": {"cli_command": "aws s3 ls"}}


@pytest.mark.parametrize(
    "matcher", ["mcp.aws.service == 's3'", "mcp.tool_annotations.known", "mcp.aws.known && has(mcp.tool)"]
)
def test_a_candidate_alone_may_read_what_is_known_of_a_tool(trial, matcher):
    candidate_with(trial, matcher)
    trial.submit(ADMIN, Inputs(mcp=COMMAND), policy=running_with("mcp.tool != 'x'"))
    trial.submit(ADMIN, Inputs(mcp={}), policy=running_with("!has(mcp.tool)"))
    assert trial.wait(2) == ["same", "narrowed"]


def test_a_candidate_alone_may_have_roles_for_a_time(trial):
    candidate_with(trial, "true", valid={"until": "2100-01-01T00:00:00Z"})
    trial.submit(ADMIN, policy=running_with("true"))
    assert trial.wait(1) == ["same"]
    candidate_with(trial, "true", valid={"until": "2001-01-01T00:00:00Z"})
    trial.submit(ADMIN, policy=running_with("true"))
    assert trial.wait(2)[1] == "narrowed"


def test_the_reason_of_a_candidate_alone_is_found_where_the_running_rules_have_headers_read(trial):
    candidate_with(trial, "true", break_glass=True)
    trial.submit(ADMIN, policy=running_with("true"))
    assert trial.wait(1) == ["unseen"]
    reads = running_with("request.method != 'x'")
    for headers in ({"x-break-glass-reason": "ticket"}, {}):
        trial.submit(ADMIN, Inputs(request={"method": "POST", "headers": headers}), policy=reads)
    assert trial.wait(3)[1:] == ["same", "narrowed"]


def test_the_reason_that_the_running_rules_read_is_the_candidates_too(trial):
    candidate_with(trial, "true", break_glass=True)
    mapping = {"name": "r", "matcher": "true", "role_arn": ROLE + "R", "break_glass": True}
    reads = build_policy(validate({**copy.deepcopy(BASE), "role_mappings": [mapping]}))
    trial.submit(ADMIN, Inputs(now=NOW, reason="ticket"), policy=reads)
    assert trial.wait(1) == ["same"]


def test_a_broken_candidate_is_said_and_shadows_nothing(trial):
    trial.path.write_text("resource: [")
    trial.load()
    assert "not valid YAML" in trial.shadow.problems[0]
    trial.submit(ADMIN)
    assert trial.outcomes == []
    trial.load(role_mappings=BASE["role_mappings"])
    assert (trial.shadow.problems, trial.shadow.candidate.path) == ([], str(trial.path))


def test_a_candidate_that_cannot_be_used_for_any_reason_is_said(trial, monkeypatch):
    trial.load(role_mappings=BASE["role_mappings"])
    monkeypatch.setattr(shadow_module, "candidate_of", lambda *_: 1 / 0)
    trial.load()
    assert trial.shadow.problems == [f"shadow: {trial.path}: cannot be used (ZeroDivisionError)"]


def test_a_candidate_that_fails_is_counted_and_the_next_decision_is_made(trial, monkeypatch):
    trial.load(role_mappings=BASE["role_mappings"])
    decide = trial.shadow.candidate.policy.decide
    results = iter([lambda *_: 1 / 0, decide])

    def once(*given):
        return next(results)(*given)

    monkeypatch.setattr(trial.shadow.candidate.policy, "decide", once)
    trial.submit(ADMIN)
    trial.submit(ADMIN)
    assert trial.wait(2) == ["failed", "same"]


def test_a_slow_candidate_delays_nothing_and_what_does_not_fit_is_dropped(trial, monkeypatch):
    trial.load(role_mappings=BASE["role_mappings"])
    may_go_on = threading.Event()
    decide = trial.shadow.candidate.policy.decide
    monkeypatch.setattr(
        trial.shadow.candidate.policy, "decide", lambda *given: may_go_on.wait(10) and decide(*given)
    )
    for _ in range(shadow_module.MAX_WAITING + 5):
        trial.submit(ADMIN)
    assert set(trial.outcomes) == {"dropped"}
    assert 4 <= len(trial.outcomes) <= 5
    may_go_on.set()


def test_a_candidates_decision_costs_no_more_than_the_running_one_may(trial):
    trial.load(limits={"policy_cost": 1_000_000})
    assert trial.shadow.candidate.policy.cost_limit == trial.running.cost_limit


async def test_only_new_decisions_are_shadowed():
    seen = []
    policy = build_policy(validate(copy.deepcopy(BASE)))
    made = Decisions(policy, on_decision=lambda *given: seen.append(given))
    session = Session(token_digest("t"), identity(ADMIN), "t")
    for _ in range(3):
        await made.decide(session, NO_INPUTS)
    assert [(given[0], given[1]) for given in seen] == [(policy, session.identity)]
    made.close()


async def test_the_admin_api_shows_what_differs(trial):
    trial.load(role_mappings=[{"name": "admins", "claim": "admins", "role_arn": ROLE + "Other"}])
    trial.submit(ADMIN)
    await asyncio.to_thread(trial.wait, 1)
    service = admin_service(Parts())
    service._state.shadow = trial.shadow
    answer = await service.GetShadow(admin_pb2.GetShadowRequest(), Context())
    shown = MessageToDict(answer, preserving_proto_field_name=True)
    assert shown["decisions"] == {"changed": "1"}
    (difference,) = shown["differences"]
    assert (difference["gives_more"], difference["after"]["role"]) == (True, ROLE + "Other")
    assert "secret" not in str(shown)


async def test_open_sessions_are_decided_under_another_configuration():
    parts = Parts()
    for n, groups in enumerate((["admins"], ["admins"], [])):
        claims = {"sub": f"secret-{n}", "groups": groups}
        parts.sessions.open(token_digest(str(n)), identity(claims), "t")
    service = admin_service(parts)
    wanted = SETTINGS.replace(
        "role_mappings:", f"session_duration: 900\nfallback_role_arn: {ROLE}Guest\nrole_mappings:"
    )
    request = admin_pb2.CompareSessionsRequest(configuration=wanted)
    answer = await service.CompareSessions(request, Context())
    assert (answer.sessions, answer.open_sessions, answer.reads_request) == (3, 3, False)
    (difference,) = answer.differences
    assert (difference.kind, difference.count, difference.after.role) == ("widened", 1, ROLE + "Guest")
    assert "secret" not in str(answer)


@pytest.mark.parametrize("text", ["", "resource: [", "nonsense: 1"])
async def test_another_configuration_that_is_none_is_refused(text):
    with pytest.raises(RefusedError):
        await admin_service(Parts()).CompareSessions(
            admin_pb2.CompareSessionsRequest(configuration=text), Context()
        )


async def test_workers_differences_are_added_up():
    one = admin_pb2.DecisionDifference(kind="widened", count=2)
    one.last_at.FromSeconds(5)
    two = admin_pb2.DecisionDifference(kind="widened", count=3)
    two.last_at.FromSeconds(9)
    other = admin_pb2.DecisionDifference(kind="narrowed", count=1)
    answers = [
        admin_pb2.GetShadowResponse(path="n", decisions={"same": 1}, differences=[one], problems=["p"]),
        admin_pb2.GetShadowResponse(
            path="n", decisions={"same": 2}, differences=[two, other], problems=["p"]
        ),
    ]
    compared = [
        admin_pb2.CompareSessionsResponse(sessions=2, open_sessions=2, differences=[one]),
        admin_pb2.CompareSessionsResponse(sessions=3, open_sessions=4, differences=[two], reads_request=True),
    ]

    def worker(number):
        async def call(method, _request):
            return (answers if method == "GetShadow" else compared)[number]

        return SimpleNamespace(number=number, unready=[], control=SimpleNamespace(call=call))

    fan_out = FanOut(workers=[worker(0), worker(1)], revocations=None, metrics=None)
    merged = await fan_out.GetShadow(admin_pb2.GetShadowRequest(), Context())
    assert (dict(merged.decisions), list(merged.problems)) == ({"same": 3}, ["p"])
    assert [(each.kind, each.count, each.last_at.seconds) for each in merged.differences] == [
        ("widened", 5, 9),
        ("narrowed", 1, 0),
    ]
    summed = await fan_out.CompareSessions(admin_pb2.CompareSessionsRequest(), Context())
    assert (summed.sessions, summed.open_sessions, summed.reads_request) == (5, 6, True)
    assert [each.count for each in summed.differences] == [5]
