"""Reloading: what a new configuration changes, and that a bad one changes nothing."""

import contextlib
import copy
import gc
import weakref
from pathlib import Path

import pytest
import yaml

from extproc import config
from extproc.app import reload as reload_module
from extproc.app import snapshot
from extproc.app.changes import applicable, same
from extproc.app.process_state import ProcessState
from extproc.app.reload import Reloader
from extproc.config import ConfigError
from extproc.config.listen import Listen
from extproc.errors import Denied, Reason
from extproc.policy.inputs import NO_INPUTS
from extproc.request.admission import Admission
from extproc.telemetry.record import RequestRecord
from extproc.values import Credentials, RequestHead
from support.tables import each_case
from support.tokens import AUDIENCE, ISSUER, KID, NOW, FakeClock, claims, key_set, mint, public_jwk, rsa_key

EXAMPLES = Path(__file__).parents[3] / "envoy"
OTHER_ISSUER = "https://other.example"
ROLE = "arn:aws:iam::123456789012:role/"


class CountingSts:
    """Returns credentials for each request, and records the role."""

    def __init__(self):
        self.roles = []

    def assume(self, _token, grant, _until):
        self.roles.append(grant.role_arn)
        return Credentials(f"ASIA{len(self.roles)}", "secret", "token", NOW + 900)

    def close(self):
        pass


class Running:
    """A reloader with a file that tests write, two issuers and one role."""

    def __init__(self, directory):
        self.keys = directory / "jwks.json"
        self.keys.write_bytes(key_set(public_jwk(rsa_key(), kid=KID)))
        self.document = {
            "resource": {"url": AUDIENCE},
            "issuers": [
                {"issuer": issuer, "audiences": [AUDIENCE], "jwks_file": str(self.keys)}
                for issuer in (ISSUER, OTHER_ISSUER)
            ],
            "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
            "role_mappings": [{"name": "all", "matcher": "true", "role_arn": ROLE + "First"}],
        }
        self.sts = CountingSts()
        settings = self.load()
        self.state = ProcessState(settings, clock=FakeClock(), sts=self.sts)
        self.reloader = Reloader(first=snapshot.build(settings, self.state), state=self.state, load=self.load)

    def load(self):
        if isinstance(self.document, Exception):
            raise self.document
        return config.validate(copy.deepcopy(self.document))

    @property
    def pipeline(self):
        return self.reloader.current.pipeline

    def metric(self, name, **labels):
        return self.state.metrics.registry.get_sample_value(f"extproc_config_{name}", labels)

    async def authorized(self, token, pipeline=None):
        pipeline = pipeline or self.pipeline
        head = RequestHead(
            method="GET",
            path="/mcp",
            authority="mcp.example",
            headers=(("authorization", f"Bearer {token}"),),
            has_body=False,
        )
        admission = pipeline.admission.admit(head)
        assert isinstance(admission, Admission)
        record = RequestRecord()
        return pipeline.authorization.lookup(
            admission, NO_INPUTS, record
        ) or await pipeline.authorization.obtain(admission, NO_INPUTS, record)


@pytest.fixture
async def running(tmp_path):
    running = Running(tmp_path)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(running.state.exchange.close)
        cleanup.callback(running.reloader.close)
        running.reloader.start()
        yield running


MINE = mint(claims())
THEIRS = mint(claims(iss=OTHER_ISSUER))


async def test_an_unchanged_file_changes_nothing(running):
    before = running.reloader.current
    assert await running.reloader.reload() == []
    assert running.reloader.current is before
    assert running.metric("reloads_total", outcome="unchanged") == 1


async def test_the_metadata_of_decisions_can_be_left_away_by_a_reload(running):
    assert running.pipeline.metadata(RequestRecord())
    running.document["dynamic_metadata"] = False
    assert await running.reloader.reload() == []
    assert running.pipeline.metadata(RequestRecord()) == b""


async def test_a_new_grant_applies_to_open_sessions(running):
    assert (await running.authorized(MINE)).granted.grant.role_arn == ROLE + "First"
    running.document["role_mappings"][0]["role_arn"] = ROLE + "Second"
    assert await running.reloader.reload() == []
    assert (await running.authorized(MINE)).granted.grant.role_arn == ROLE + "Second"
    assert running.sts.roles == [ROLE + "First", ROLE + "Second"]
    assert running.metric("reloads_total", outcome="applied") == 1
    assert running.metric("last_reload_successful") == 1


async def test_a_session_whose_grant_stays_the_same_keeps_its_credentials(running):
    first = await running.authorized(MINE)
    running.document["role_mappings"].insert(
        0, {"name": "nobody", "claim": "nobody", "role_arn": ROLE + "Other", "priority": 1}
    )
    await running.reloader.reload()
    second = await running.authorized(MINE)
    assert second.credentials is first.credentials
    assert second.session is first.session
    assert running.sts.roles == [ROLE + "First"]


async def test_a_session_ends_when_its_scope_no_longer_includes_the_required_one(
    running,
):
    token = mint(claims(scope="aws:*"))
    running.document["issuers"][0]["required_scopes"] = ["aws:read"]
    running.document["scopes"] = {"aws:*": ["aws:read"]}
    await running.reloader.reload()
    first = await running.authorized(token)
    running.document["scopes"]["other"] = ["aws:write"]  # does not concern this issuer
    await running.reloader.reload()
    assert (await running.authorized(token)).session is first.session
    running.document["scopes"]["aws:*"] = ["aws:write"]
    await running.reloader.reload()
    with pytest.raises(Denied) as caught:
        await running.authorized(token)
    assert (caught.value.reason, caught.value.scopes) == (Reason.SCOPE_MISSING, ("aws:read", "aws:*"))


async def test_scopes_that_a_rule_newly_requires_apply_to_open_sessions(running):
    assert await running.authorized(MINE)
    running.document["role_mappings"][0]["require_scopes"] = ["aws:call"]
    await running.reloader.reload()
    for _ in range(2):  # first decided, then cached
        with pytest.raises(Denied) as caught:
            await running.authorized(MINE)
        assert (caught.value.reason, caught.value.scopes) == (Reason.SCOPE_MISSING, ("aws:call",))


@pytest.mark.parametrize(
    "change",
    [
        {"audiences": ["https://another.example"]},
        {"algorithms": ["ES256"]},
        {"token_types": ["JWT"]},
        {"required_claims": {"tenant": "a"}},
        {"required_scopes": ["mcp"]},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_session_of_an_issuer_that_changed_is_verified_again(running, change):
    await running.authorized(MINE)
    theirs = await running.authorized(THEIRS)
    running.document["issuers"][0].update(change)
    await running.reloader.reload()
    with pytest.raises(Denied):
        await running.authorized(MINE)
    assert len(running.state.sessions) == 1
    assert (await running.authorized(THEIRS)).session is theirs.session


async def test_a_session_that_is_verified_again_goes_on_with_its_credentials(running):
    before = await running.authorized(MINE)
    running.document["issuers"][0]["leeway"] = 7
    await running.reloader.reload()
    after = await running.authorized(MINE)
    assert after.live is before.live
    assert after.session.identity.config_digest != b""
    assert len(running.sts.roles) == 1


async def test_a_claim_required_as_a_number_differs_from_one_required_as_a_bool(running):
    token = mint(claims(admin=1))
    running.document["issuers"][0]["required_claims"] = {"admin": 1}
    await running.reloader.reload()
    await running.authorized(token)
    running.document["issuers"][0]["required_claims"] = {"admin": True}
    await running.reloader.reload()
    with pytest.raises(Denied) as denied:
        await running.authorized(token)
    assert denied.value.reason is Reason.CLAIM_REQUIRED


async def test_narrower_limits_on_tokens_apply_to_open_sessions(running):
    await running.authorized(MINE)
    running.document["limits"] = {"token_bytes": 256}
    await running.reloader.reload()
    with pytest.raises(Denied) as denied:
        await running.authorized(MINE)
    assert denied.value.reason is Reason.TOKEN_MALFORMED


async def test_a_removed_issuers_sessions_and_credentials_are_dropped(running):
    await running.authorized(MINE)
    del running.document["issuers"][0]
    await running.reloader.reload()
    assert (len(running.state.sessions), running.state.sessions.credentials) == (0, 0)
    with pytest.raises(Denied) as denied:
        await running.authorized(MINE)
    assert denied.value.reason is Reason.ISSUER_UNKNOWN


async def test_a_request_under_the_older_configuration_ends_under_it(running):
    older = running.pipeline
    running.document["role_mappings"][0]["role_arn"] = ROLE + "Second"
    await running.reloader.reload()
    assert (await running.authorized(MINE, older)).granted.grant.role_arn == ROLE + "First"
    assert (await running.authorized(MINE)).granted.grant.role_arn == ROLE + "Second"


async def test_a_session_that_an_older_request_opens_late_is_verified_again_by_newer_ones(running):
    older = running.pipeline
    running.document["issuers"][0]["audiences"] = ["https://another.example"]
    await running.reloader.reload()
    await running.authorized(MINE, older)  # opens a session that the newer configuration would refuse
    assert len(running.state.sessions) == 1
    with pytest.raises(Denied) as denied:
        await running.authorized(MINE)
    assert denied.value.reason is Reason.AUDIENCE_WRONG


async def test_a_request_does_not_outlive_its_configuration_for_long(running, monkeypatch):
    monkeypatch.setattr(reload_module, "RETIRE_AFTER", 0)
    older = running.pipeline
    await running.authorized(MINE, older)
    running.document["role_mappings"][0]["role_arn"] = ROLE + "Second"
    await running.reloader.reload()
    await running.reloader.reload()  # lets the loop come to what is due
    with pytest.raises(Denied) as denied:
        await running.authorized(MINE, older)
    assert denied.value.reason is Reason.CONFIGURATION_CHANGED


async def test_credentials_that_are_no_longer_used_are_not_renewed(running):
    long_token = mint(claims(exp=NOW + 8000))
    await running.authorized(long_token)
    running.document["role_mappings"][0]["role_arn"] = ROLE + "Second"
    running.state.clock.advance(1)
    await running.reloader.reload()
    running.state.clock.advance(800)
    assert running.state.credentials.renew_due() == []


@pytest.mark.parametrize(
    "bad",
    [
        ConfigError(["targets[0].host: must be a lower-case host name"]),
        RuntimeError("canary-secret"),
        {"resource": {"url": AUDIENCE}},
    ],
    ids=["invalid", "a bug of ours", "incomplete"],
)
async def test_a_bad_file_changes_nothing_and_is_reported(running, bad):
    first = await running.authorized(MINE)
    before, good = running.reloader.current, running.document
    running.document = bad
    problems = await running.reloader.reload()
    assert problems
    assert "canary" not in str(problems)
    assert running.reloader.current is before
    assert running.reloader.degraded == [f"configuration: not reloaded: {problem}" for problem in problems]
    assert (await running.authorized(MINE)).credentials is first.credentials
    assert running.metric("reloads_total", outcome="failed") == 1
    assert running.metric("last_reload_successful") == 0
    running.document = good
    assert await running.reloader.reload() == []
    assert running.reloader.degraded == []
    assert running.metric("last_reload_successful") == 1


async def test_settings_that_need_a_restart_are_named_and_the_others_apply(running):
    running.document["listen"] = {"grpc": "127.0.0.1:1"}
    running.document["sts"] = {"deadline": 9.0}
    running.document["limits"] = {"sessions": 5, "mcp_body_bytes": 7}
    running.document["session_duration"] = 900
    assert await running.reloader.reload() == []
    settings = running.reloader.current.settings
    assert (settings.listen.grpc, settings.sts.deadline) == ("127.0.0.1:50051", 5.0)
    assert (settings.limits.sessions, settings.limits.mcp_body_bytes) == (10_000, 7)
    assert settings.session_duration == 900
    assert running.reloader.degraded == [
        "configuration: listen needs a restart",
        "configuration: sts needs a restart",
        "configuration: limits.sessions needs a restart",
    ]
    del running.document["listen"], running.document["sts"], running.document["limits"]["sessions"]
    await running.reloader.reload()
    assert running.reloader.degraded == []


async def test_another_default_region_of_sts_needs_a_restart(running):
    running.document["targets"][0]["host"] = "aws-mcp.eu-central-1.api.aws"
    await running.reloader.reload()
    assert running.reloader.degraded == ["configuration: sts.region (the first target's) needs a restart"]
    running.document["session_duration"] = 900
    await running.reloader.reload()
    assert running.reloader.degraded == ["configuration: sts.region (the first target's) needs a restart"]


async def test_new_settings_must_fit_those_that_need_a_restart(running):
    running.document["cache"] = {"reuse": "identity"}
    await running.reloader.reload()
    assert running.reloader.current.settings.cache.reuse == "token"
    del running.document["cache"]
    with_identity = Running(running.keys.parent)
    with_identity.document["cache"] = {"reuse": "identity"}
    settings = with_identity.load()
    reloader = Reloader(
        first=snapshot.build(settings, with_identity.state),
        state=with_identity.state,
        load=with_identity.load,
    )
    with_identity.document["cache"] = {"reuse": "token"}
    with_identity.document["issuers"][0]["sts_token_header"] = "x-id-token"
    problems = await reloader.reload()
    assert "exclude each other (with cache as before)" in problems[0]
    reloader.close()
    with_identity.state.exchange.close()


async def test_key_stores_of_unchanged_issuers_are_kept_and_new_ones_are_fetched_before_use(running):
    await running.authorized(MINE)
    kept = running.reloader.current.key_stores[ISSUER]
    elsewhere = running.keys.with_name("others.json")
    elsewhere.write_bytes(running.keys.read_bytes())
    running.document["issuers"][1]["jwks_file"] = str(elsewhere)
    running.document["issuers"][0]["audiences"] = [AUDIENCE, "https://another.example"]
    await running.reloader.reload()
    stores = running.reloader.current.key_stores
    assert stores[ISSUER] is kept
    assert stores[OTHER_ISSUER].current() is not None
    assert running.reloader.watched == [running.keys, elsewhere]


async def test_a_changed_key_file_is_used_at_once(running):
    await running.authorized(MINE)
    running.keys.write_bytes(key_set(public_jwk(rsa_key("second"), kid="second")))
    assert await running.reloader.reload() == []
    with pytest.raises(Denied) as denied:
        await running.authorized(MINE)
    assert denied.value.reason is Reason.KEY_UNKNOWN


async def test_older_configurations_are_freed(running, monkeypatch):
    monkeypatch.setattr(reload_module, "RETIRE_AFTER", 0)
    await running.authorized(MINE)
    older = weakref.ref(running.reloader.current.pipeline.authorization)
    running.document["session_duration"] = 900
    await running.reloader.reload()
    await running.reloader.reload()  # lets the loop come to what is due
    gc.collect()
    assert older() is None


@each_case("example", sorted(EXAMPLES.glob("*/extproc.yaml")), ids=lambda path: path.parent.name)
def test_every_section_can_be_combined_with_the_settings_of_the_start(example):
    wanted = config.load(example)
    at_start = wanted.model_copy(update={"drain_seconds": 1.0, "listen": Listen(grpc="127.0.0.1:1")})
    settings, waiting = applicable(wanted, at_start)
    assert waiting == ["listen"]
    assert same(settings, wanted.model_copy(update={"listen": at_start.listen}))


async def test_series_are_exposed_at_0_before_anything_is_counted(running):
    shown = running.state.metrics.registry.get_sample_value
    refused = {"decision": "deny", "reason": "no_role", "target": "new"}
    assert shown("extproc_requests_total", {**refused, "target": "aws-mcp"}) == 0
    assert shown("extproc_jwks_fetches_total", {"issuer": ISSUER, "outcome": "failed"}) == 0
    assert shown("extproc_exchanges_total", {"outcome": "sts_access_denied", "code": "AccessDenied"}) == 0
    assert shown("extproc_requests_total", refused) is None
    running.document["targets"][0]["name"] = "new"
    running.document["issuers"].append(
        {"issuer": "https://third.example", "audiences": [AUDIENCE], "jwks_file": str(running.keys)}
    )
    running.document["rate_limits"] = [{"name": "scripts", "rate": "1/minute"}, {"preset": "aws-mcp"}]
    await running.reloader.reload()
    assert shown("extproc_requests_total", refused) == 0
    for limit in ("scripts", "rate_limits[1] per subject", "rate_limits[1] per account"):
        assert shown("extproc_rate_limited_total", {"limit": limit}) == 0
    assert shown("extproc_jwks_fetches_total", {"issuer": "https://third.example", "outcome": "failed"}) == 0


async def test_settings_that_need_a_restart_are_exposed_one_by_one(running):
    assert set(running.reloader.waits_for_restart.values()) == {False}
    running.document["targets"][0]["host"] = "aws-mcp.eu-central-1.api.aws"
    running.document["limits"] = {"sessions": 7}
    await running.reloader.reload()
    waiting = running.reloader.waits_for_restart
    assert [name for name in waiting if waiting[name]] == ["limits.sessions", "sts.region"]
    assert set(waiting) == {
        "listen", "sts", "cache", "audit", "tracing", "limits.sessions", "limits.request_body_bytes", "sts.region"
    }  # fmt: skip


async def test_the_candidate_is_loaded_with_the_configuration_and_reloaded_by_itself(running, tmp_path):
    path = tmp_path / "next.yaml"
    running.document["shadow"] = str(path)
    assert await running.reloader.reload() == []
    assert "No such file" in running.reloader.degraded[0]
    assert path in running.reloader.watched
    path.write_text(yaml.safe_dump({**running.document, "shadow": None}))
    assert await running.reloader.reload() == []
    assert running.reloader.degraded == []
    assert running.state.shadow.candidate.path == str(path)
    del running.document["shadow"]
    await running.reloader.reload()
    assert running.state.shadow.candidate is None


async def test_claims_stay_in_memory_where_a_rate_limit_reads_them_for_each_request(running):
    for matcher, kept in (({}, False), ({"matcher": "claims.sub == 'x'"}, True)):
        running.document["rate_limits"] = [{"name": "scripts", "rate": "1/minute", **matcher}]
        assert await running.reloader.reload() == []
        assert running.reloader.current.verifier._keeps_claims is kept
