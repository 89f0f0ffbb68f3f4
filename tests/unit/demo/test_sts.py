import json
import time
import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.testclient import TestClient

from extproc.demo import idp
from extproc.demo.idp_keys import KeyRing
from extproc.demo.sts import StsSettings, create_app
from extproc.demo.sts_trust import TrustPolicy
from extproc.demo.sts_wire import parse_assume_role
from support.tables import each_case

ISSUER = "http://idp.example:9000"
OTHER_ISSUER = "http://other.example:9000"
AUDIENCE = "https://mcp.example/mcp"
ROLE = "arn:aws:iam::123456789012:role/team/DemoAdmin"
XML = "{https://sts.amazonaws.com/doc/2011-06-15/}"
POLICY = json.dumps({"Version": "2012-10-17", "Statement": []})


class Provider(httpx2.AsyncBaseTransport):
    """The demo's provider as the emulator reaches it, with a switch for the network."""

    def __init__(self):
        self.app = idp.create_app(idp.IdpSettings(issuer=ISSUER, audience=AUDIENCE))
        self.http = TestClient(self.app, base_url=ISSUER)
        self._inner = httpx2.ASGITransport(app=self.app)
        self.down = False
        self.fetches = 0

    async def handle_async_request(self, request):
        self.fetches += 1
        if self.down:
            raise httpx2.ConnectError("refused")
        return await self._inner.handle_async_request(request)

    def token(self, **form):
        form = {"grant_type": "password", "username": "demo-admin", "password": "demo", **form}
        return self.http.post("/token", data=form).json()["access_token"]


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def sts(provider):
    trust = TrustPolicy(
        audiences=frozenset({AUDIENCE}), subjects=("demo-*", "ali?e"), max_session_duration=7200
    )
    settings = StsSettings(providers={ISSUER: frozenset({AUDIENCE, "second"})}, roles={ROLE: trust})
    with TestClient(create_app(settings, transport=provider)) as client:
        yield client


def call(sts, token, headers=None, **change):
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "alice@demo",
        "WebIdentityToken": token,
        **change,
    }
    return sts.post(
        "/", data={name: value for name, value in form.items() if value is not None}, headers=headers
    )


def refused(answer, status, code):
    root = ET.fromstring(answer.text)
    assert (answer.status_code, root.findtext(f"{XML}Error/{XML}Code")) == (status, code)
    assert root.tag == f"{XML}ErrorResponse"
    assert root.findtext(f"{XML}RequestId") == answer.headers["x-amzn-requestid"]
    return root.findtext(f"{XML}Error/{XML}Message")


def issued(answer):
    assert answer.status_code == 200, answer.text
    result = ET.fromstring(answer.text).find(f"{XML}AssumeRoleWithWebIdentityResult")
    return {element.tag.removeprefix(XML): element.text for element in result.iter()}


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_genuine_token_becomes_credentials_in_amazons_form(sts, provider, algorithm):
    answer = call(sts, provider.token(alg=algorithm))
    found = issued(answer)
    assert found["AccessKeyId"].startswith("ASIA")
    assert len(found["AccessKeyId"]) == 20
    assert len(found["SecretAccessKey"]) == 40
    assert len(found["SessionToken"]) >= 400
    lifetime = datetime.fromisoformat(found["Expiration"]) - datetime.now(UTC)
    assert 3590 < lifetime.total_seconds() <= 3600
    assert found["Arn"] == "arn:aws:sts::123456789012:assumed-role/DemoAdmin/alice@demo"
    assert found["AssumedRoleId"].startswith("AROA")
    assert found["AssumedRoleId"].endswith(":alice@demo")
    assert (found["SubjectFromWebIdentityToken"], found["Provider"], found["Audience"]) == (
        "demo-admin",
        ISSUER,
        AUDIENCE,
    )
    assert "PackedPolicySize" not in found
    assert answer.headers["date"].endswith("GMT")
    assert answer.headers["content-type"].startswith("text/xml")


def test_the_upstream_can_ask_what_a_credential_stands_for(sts, provider):
    found = issued(
        call(
            sts,
            provider.token(),
            Policy=POLICY,
            **{"PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"},
        )
    )
    known = sts.get(f"/_control/credentials/{found['AccessKeyId']}").json()
    assert known == {
        "secret_access_key": found["SecretAccessKey"],
        "session_token": found["SessionToken"],
        "expiration": found["Expiration"],
        "arn": found["Arn"],
        "role_arn": ROLE,
        "session_name": "alice@demo",
        "policy": POLICY,
        "policy_arns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        "tags": {},
        "source_identity": None,
    }
    assert int(found["PackedPolicySize"]) > 0
    assert sts.get("/_control/credentials/ASIANOBODY").status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"RoleArn": None},
        {"RoleArn": "arn:aws:iam::1:role"},
        {"RoleArn": "not-an-arn-but-long-enough"},
        {"RoleArn": ROLE + "x" * 2048},
        {"RoleSessionName": None},
        {"RoleSessionName": "a"},
        {"RoleSessionName": "a" * 65},
        {"RoleSessionName": "a b"},
        {"RoleSessionName": "ä\u00e9"},
        {"WebIdentityToken": None},
        {"WebIdentityToken": "abc"},
        {"WebIdentityToken": "a" * 20001},
        {"DurationSeconds": "899"},
        {"DurationSeconds": "43201"},
        {"DurationSeconds": "7201"},
        {"Policy": ""},
        {"Policy": "x" * 2049},
        {"Policy": "\u20ac"},
        {"PolicyArns.member.1.arn": "arn:aws:iam::999999999999:policy/Foreign"},
        {f"PolicyArns.member.{number}.arn": f"arn:aws:iam::aws:policy/P{number}" for number in range(1, 12)},
        {"ProviderId": "www.amazon.com"},
        {"MinimumSessionTokenSize": "4097"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_parameter_outside_its_limits_is_a_validation_error(sts, provider, change):
    refused(call(sts, provider.token(), **change), 400, "ValidationError")


@pytest.mark.parametrize(
    "change",
    [
        {"RoleSessionName": "a" * 64},
        {"RoleSessionName": "w_+=,.@-"},
        {"DurationSeconds": "900"},
        {"DurationSeconds": "7200"},
        {"MinimumSessionTokenSize": "4096"},
        {"Policy": POLICY.ljust(2048)},
    ],
)
def test_a_parameter_at_its_limit_is_accepted(sts, provider, change):
    issued(call(sts, provider.token(), **change))


def test_a_policy_that_is_no_policy_is_malformed(sts, provider):
    refused(call(sts, provider.token(), Policy="{}"), 400, "MalformedPolicyDocument")
    refused(call(sts, provider.token(), Policy="[" * 2000), 400, "MalformedPolicyDocument")


def test_policy_and_policy_arns_share_one_limit(sts, provider):
    arns = {"PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}
    refused(call(sts, provider.token(), Policy=POLICY.ljust(2040), **arns), 400, "PackedPolicyTooLarge")


def test_other_actions_versions_and_forms_are_refused(sts, provider):
    refused(call(sts, provider.token(), Action="GetCallerIdentity"), 400, "InvalidAction")
    refused(call(sts, provider.token(), Version="2010-01-01"), 400, "InvalidAction")
    refused(sts.post("/", json={}), 400, "MalformedInput")


def test_a_signed_call_is_refused(sts, provider):
    answer = call(sts, provider.token(), headers={"authorization": "AWS4-HMAC-SHA256 Credential=x"})
    refused(answer, 403, "InvalidClientTokenId")


def test_a_token_of_an_unknown_issuer_is_refused(sts):
    key = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode({"iss": OTHER_ISSUER}, key, algorithm="ES256", headers={"kid": "k"})
    message = refused(call(sts, token), 400, "InvalidIdentityToken")
    assert message == f"No OpenIDConnect provider found in your account for {OTHER_ISSUER}"


def test_a_message_that_repeats_a_claim_stays_xml(sts):
    key = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode({"iss": "<&>\x00"}, key, algorithm="ES256", headers={"kid": "k"})
    assert "<&>" in refused(call(sts, token), 400, "InvalidIdentityToken")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_token_signed_with_another_key_under_a_known_key_id_is_refused(sts, provider, algorithm):
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    forged = KeyRing().sign(claims, algorithm=algorithm)
    refused(call(sts, forged), 400, "InvalidIdentityToken")


@pytest.mark.parametrize("token", ["abcd", "a.b.c", "e30.e30.e30", "\u00e4" * 10])
def test_what_is_no_token_is_refused(sts, token):
    refused(call(sts, token), 400, "InvalidIdentityToken")


def test_a_symmetric_or_absent_algorithm_is_refused(sts):
    claims = {"iss": ISSUER, "sub": "demo-admin", "aud": AUDIENCE}
    hmac = jwt.encode(claims, "k" * 64, algorithm="HS256", headers={"kid": "demo-rs256-1"})
    refused(call(sts, hmac), 400, "InvalidIdentityToken")
    refused(call(sts, jwt.encode(claims, None, algorithm="none")), 400, "InvalidIdentityToken")


@each_case(
    "change",
    [{"exp": 1.5e10}, {"iat": "1"}, {"sub": ""}, {"sub": None}, {"exp": None}, {"iat": None}, {"nbf": 2**40}],
    ids=str,
)
def test_claims_sts_cannot_use_are_refused(change):
    # The ring of the provider is not reachable from outside, so this test brings a provider of its own.
    ring = KeyRing()

    async def answer(request):
        documents = {
            "/.well-known/openid-configuration": {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"},
            "/keys": ring.jwks(),
        }
        return httpx2.Response(200, json=documents[request.url.path])

    settings = StsSettings(
        providers={ISSUER: frozenset({AUDIENCE})}, roles={ROLE: TrustPolicy(frozenset({AUDIENCE}), ("*",))}
    )
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "demo-admin", "aud": [AUDIENCE, "x"], "iat": now, "exp": now + 600}
    with TestClient(create_app(settings, transport=httpx2.MockTransport(answer))) as sts:
        issued(call(sts, ring.sign(claims, algorithm="RS256")))
        bad = {name: value for name, value in {**claims, **change}.items() if value is not None}
        refused(call(sts, ring.sign(bad, algorithm="RS256")), 400, "InvalidIdentityToken")


def test_an_expired_token_is_refused(sts, provider):
    refused(call(sts, provider.token(lifetime="-1")), 400, "ExpiredTokenException")


def test_an_audience_that_is_not_registered_is_refused(sts, provider):
    message = refused(call(sts, provider.token(audience="elsewhere")), 400, "InvalidIdentityToken")
    assert message == "Incorrect token audience"


def test_the_trust_policy_decides_on_audience_and_subject(sts, provider):
    refused(call(sts, provider.token(audience="second")), 403, "AccessDenied")
    refused(call(sts, provider.token(user="mallory")), 403, "AccessDenied")
    issued(call(sts, provider.token(user="alice")))


def test_an_unknown_role_is_denied_like_an_untrusting_one(sts, provider):
    unknown = refused(call(sts, provider.token(), RoleArn=ROLE + "X"), 403, "AccessDenied")
    assert unknown == "Not authorized to perform sts:AssumeRoleWithWebIdentity"
    assert refused(call(sts, provider.token(user="mallory")), 403, "AccessDenied") == unknown


def test_keys_are_fetched_once_and_again_for_an_unknown_key_id(sts, provider):
    issued(call(sts, provider.token()))
    issued(call(sts, provider.token()))
    assert provider.fetches == 2  # discovery and key set
    provider.http.post("/_control/rotate?drop=1")
    issued(call(sts, provider.token()))
    assert provider.fetches == 4


def test_known_keys_work_while_the_provider_is_unreachable(sts, provider):
    issued(call(sts, provider.token()))
    provider.down = True
    issued(call(sts, provider.token()))


@pytest.mark.parametrize("fault", [{"jwks": "error"}, {"discovery": "error"}])
def test_a_failing_provider_is_a_communication_error(sts, provider, fault):
    provider.http.post("/_control/faults", json=fault)
    refused(call(sts, provider.token()), 400, "IDPCommunicationError")


def test_an_unreachable_provider_is_a_communication_error(sts, provider):
    provider.down = True
    refused(call(sts, provider.token()), 400, "IDPCommunicationError")


def test_a_malformed_key_set_is_an_invalid_token_and_recovers(sts, provider):
    provider.http.post("/_control/faults", json={"jwks": "malformed"})
    refused(call(sts, provider.token()), 400, "InvalidIdentityToken")
    provider.http.post("/_control/faults", json={"jwks": None})
    issued(call(sts, provider.token()))


@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [
        ("throttle", 400, "Throttling"),
        ("fail", 500, "InternalFailure"),
        ("access_denied", 403, "AccessDenied"),
        ("expired", 400, "ExpiredTokenException"),
        ("idp_unreachable", 400, "IDPCommunicationError"),
        ("malformed_policy", 400, "MalformedPolicyDocument"),
        ("region_disabled", 403, "RegionDisabledException"),
    ],
)
def test_a_fault_is_answered_as_the_error_it_stands_for(sts, provider, mode, status, code):
    sts.post("/_control/faults", json={"mode": mode})
    refused(call(sts, provider.token()), status, code)
    sts.post("/_control/faults", json={"mode": None})
    issued(call(sts, provider.token()))


@pytest.mark.parametrize(("mode", "status"), [("malformed", 200), ("empty4xx", 400), ("html200", 200)])
def test_a_broken_answer_is_no_document_of_sts(sts, provider, mode, status):
    sts.post("/_control/faults", json={"mode": mode})
    answer = call(sts, provider.token())
    assert answer.status_code == status
    assert "Credentials>" not in answer.text
    assert sts.get("/_control/stats").json()["errors"] == {mode: 1}


def test_a_counted_fault_ends_by_itself(sts, provider):
    sts.post("/_control/faults", json={"mode": "throttle", "count": 2})
    token = provider.token()
    assert [call(sts, token).status_code for _ in range(3)] == [400, 400, 200]


def test_a_slow_call_waits_and_then_succeeds(sts, provider):
    sts.post("/_control/faults", json={"mode": "slow", "delay": 0.2, "count": 1})
    start = time.monotonic()
    issued(call(sts, provider.token()))
    assert time.monotonic() - start >= 0.2


def test_the_credential_lifetime_can_be_overridden(sts, provider):
    sts.post("/_control/faults", json={"mode": None, "credential_lifetime": -5})
    found = issued(call(sts, provider.token()))
    assert datetime.fromisoformat(found["Expiration"]) < datetime.now(UTC)
    sts.post("/_control/reset")
    assert datetime.fromisoformat(issued(call(sts, provider.token()))["Expiration"]) > datetime.now(UTC)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"mode": "burn"},
        {"count": 0},
        {"count": True},
        {"delay": -1},
        {"delay": "1"},
        {"x": 1},
        {"credential_lifetime": "1"},
    ],
)
def test_a_bad_fault_is_refused(sts, body):
    assert sts.post("/_control/faults", json=body).status_code == 400


def test_calls_are_counted_until_reset(sts, provider):
    call(sts, provider.token())
    call(sts, provider.token(user="alice"))
    call(sts, provider.token(user="mallory"))
    assert sts.get("/_control/stats").json() == {
        "calls": 3,
        "ok": 2,
        "errors": {"AccessDenied": 1},
        "by_subject": {"demo-admin": 1, "alice": 1},
    }
    sts.post("/_control/reset")
    assert sts.get("/_control/stats").json() == {"calls": 0, "ok": 0, "errors": {}, "by_subject": {}}
    assert sts.get("/healthz").json() == {"status": "ok"}


def test_an_empty_trust_policy_admits_no_user(provider):
    settings = StsSettings(
        providers={ISSUER: frozenset({AUDIENCE})}, roles={ROLE: TrustPolicy(frozenset(), ())}
    )
    with TestClient(create_app(settings, transport=provider)) as sts:
        refused(call(sts, provider.token()), 403, "AccessDenied")


def test_secrets_do_not_show_in_representations():
    form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": ROLE}
    wanted = parse_assume_role({**form, "RoleSessionName": "ab", "WebIdentityToken": "secret-token"})
    assert "secret-token" not in repr(wanted)
