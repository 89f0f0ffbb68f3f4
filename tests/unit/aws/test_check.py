"""A trust policy that exists is compared with the one that the configuration needs."""

import copy

import pytest

from extproc.aws.check import check_provider, check_role
from extproc.aws.documents import trust_policy
from extproc.aws.requirements import Account, FirstRole, Provider, Role
from extproc.aws.statements import UnreadableError
from support.tables import each_case

PROVIDER = Provider(
    issuer="https://tenant.auth0.com/",
    client_ids=("app", "cli"),
    original_audiences=("https://mcp.example.com/mcp",),
    session_tags=True,
)
FIRST = FirstRole(
    arn="arn:aws:iam::111111111111:role/First", external_id="tenant", session_tags=True, source_identity=False
)
ROLE = Role(
    arn="arn:aws:iam::123456789012:role/R",
    providers=(PROVIDER,),
    first_roles=(FIRST,),
    max_session_duration=7200,
)
KEY = "tenant.auth0.com/"
ARN = f"arn:aws:iam::123456789012:oidc-provider/{KEY}"


def checked(change, **options):
    policy = copy.deepcopy(trust_policy(ROLE))
    change(*policy["Statement"])
    return check_role(ROLE, policy, **options)


def equal(statement):
    return statement["Condition"]["StringEquals"]


def test_the_policy_that_is_printed_has_no_findings():
    assert check_role(ROLE, trust_policy(ROLE), max_session_duration=7200) == []
    assert check_role(ROLE, trust_policy(ROLE, subject="staff-*"), subject="staff-*") == []


def rename(statement, old, new):
    equal(statement)[new] = equal(statement).pop(old)


FAULTS = {
    "the slash of the provider's ARN": (
        lambda web, _: web["Principal"].update(Federated=ARN.rstrip("/")),
        ("missing", f"principal {ARN.rstrip('/')} is not the provider of the tokens, which is {ARN}"),
    ),
    "the slash of the condition key": (
        lambda web, _: rename(web, f"{KEY}:aud", "tenant.auth0.com:aud"),
        ("missing", f"tenant.auth0.com:aud is no key of these tokens and never matches; theirs begin with {KEY}:"),
    ),
    "a client id too few": (
        lambda web, _: equal(web).update({f"{KEY}:aud": "app"}),
        ("missing", f"{KEY}:aud does not admit cli"),
    ),
    "a client id too many": (
        lambda web, _: equal(web)[f"{KEY}:aud"].append("other"),
        ("too wide", f"{KEY}:aud also admits other"),
    ),
    "a pattern of client ids": (
        lambda web, _: web.update(
            Condition={"StringLike": {f"{KEY}:aud": "*"}, "StringEquals": {f"{KEY}:oaud": equal(web)[f"{KEY}:oaud"]}}
        ),
        ("too wide", f"{KEY}:aud also admits *"),
    ),
    "no audience": (
        lambda web, _: equal(web).pop(f"{KEY}:aud"),
        ("too wide", f"no condition limits {KEY}:aud"),
    ),
    "no original audience": (
        lambda web, _: equal(web).pop(f"{KEY}:oaud"),
        ("too wide", f"no condition limits {KEY}:oaud"),
    ),
    "all audiences but one": (
        lambda web, _: web.update(
            Condition={
                "StringNotEquals": {f"{KEY}:aud": "x"},
                "StringEquals": {f"{KEY}:oaud": equal(web)[f"{KEY}:oaud"]},
            }
        ),
        ("too wide", f"no condition limits {KEY}:aud"),
    ),
    "an audience only if the token has one": (
        lambda web, _: web.update(Condition={"StringEqualsIfExists": equal(web)}),
        ("too wide", f"no condition limits {KEY}:aud"),
    ),
    "an external id only if one is sent": (
        lambda _, chain: chain.update(Condition={"StringEqualsIfExists": equal(chain)}),
        ("too wide", "no condition limits sts:externalid"),
    ),
    "no session tags": (
        lambda web, _: web.update(Action="sts:AssumeRoleWithWebIdentity"),
        ("missing", f"sts:TagSession for {ARN}"),
    ),
    "a source identity": (
        lambda web, _: web["Action"].append("sts:SetSourceIdentity"),
        ("too wide", f"sts:SetSourceIdentity for {ARN} is not needed"),
    ),
    "every action": (
        lambda web, _: web.update(Action="sts:*"),
        ("too wide", "Action sts:*: name the actions"),
    ),
    "all actions but one": (
        lambda web, _: web.update(NotAction="sts:GetFederationToken"),
        ("too wide", "NotAction admits everything but what it lists"),
    ),
    "another principal": (
        lambda web, _: web["Principal"].update(AWS="*"),
        ("too wide", "also trusts *"),
    ),
    "another action": (
        lambda web, _: web.update(Action="sts:AssumeRoleWithSAML"),
        ("missing", f"no statement allows sts:AssumeRoleWithWebIdentity to {ARN}"),
    ),
    "a chain from the whole account": (
        lambda _, chain: chain["Principal"].update(AWS="arn:aws:iam::111111111111:root"),
        ("too wide", "also trusts arn:aws:iam::111111111111:root"),
    ),
    "a chain from another role": (
        lambda _, chain: chain["Principal"].update(AWS="arn:aws:iam::111111111111:role/Other"),
        ("missing", f"no statement allows sts:AssumeRole to {FIRST.arn}"),
    ),
    "another external id": (
        lambda _, chain: equal(chain).update({"sts:ExternalId": "x"}),
        ("missing", "sts:externalid does not admit tenant"),
    ),
    "no external id": (
        lambda _, chain: chain.pop("Condition"),
        ("too wide", "no condition limits sts:externalid"),
    ),
}  # fmt: skip


@each_case("fault", FAULTS)
def test_a_fault_in_a_trust_policy_is_named(fault):
    change, finding = FAULTS[fault]
    assert finding in checked(change)


def test_a_duration_that_is_too_short_is_missing():
    finding = ("missing", "the maximum session duration is 3600 s, not 7200 s")
    assert check_role(ROLE, trust_policy(ROLE), max_session_duration=3600) == [finding]


def test_a_duration_that_is_longer_than_asked_is_a_note():
    finding = ("note", "the maximum session duration is 43200 s; 7200 s would do")
    assert check_role(ROLE, trust_policy(ROLE), max_session_duration=43_200) == [finding]


def test_a_subject_that_no_condition_asks_for_is_too_wide():
    finding = ("too wide", f"no condition limits {KEY}:sub")
    assert check_role(ROLE, trust_policy(ROLE), subject="staff-*") == [finding]


def test_conditions_and_denials_that_may_refuse_users_are_notes():
    def change(web, _):
        web["Condition"]["IpAddress"] = {"aws:SourceIp": "192.0.2.0/24"}

    assert [kind for kind, _ in checked(change)] == ["note"]


@each_case(
    "statement",
    [
        {"Principal": "*", "Action": "sts:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"NotPrincipal": {"AWS": FIRST.arn}, "Action": "sts:*"},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:role/Other"}, "Action": "sts:*"},
        {"Principal": "*", "Action": "sts:TagSession"},
    ],
)
def test_a_denial_of_some_is_not_compared(statement):
    denying = trust_policy(ROLE)
    denying["Statement"].append({"Effect": "Deny", **statement})
    assert check_role(ROLE, denying) == [("note", "Deny statements are not compared")]


def test_a_denial_of_all_that_is_needed_is_named():
    denying = trust_policy(ROLE)
    denying["Statement"].append({"Effect": "Deny", "Principal": "*", "Action": "sts:*"})
    assert check_role(ROLE, denying) == [
        ("missing", f"a Deny statement refuses sts:AssumeRoleWithWebIdentity to {ARN}"),
        ("missing", f"a Deny statement refuses sts:AssumeRole to {FIRST.arn}"),
    ]


def test_an_external_id_that_the_chain_does_not_send_is_missing():
    first = FirstRole(arn=FIRST.arn, external_id=None, session_tags=False, source_identity=False)
    role = Role(arn=ROLE.arn, first_roles=(first,))
    policy = trust_policy(role)
    policy["Statement"][0]["Condition"] = {"StringEquals": {"sts:ExternalId": "x"}}
    message = f"sts:ExternalId is required of {FIRST.arn}, and its chain has no external_id"
    assert check_role(role, policy) == [("missing", message)]


@each_case(
    "policy",
    [
        None,
        [],
        {},
        {"Statement": ["x"]},
        {"Statement": {"Effect": "Maybe"}},
        {"Statement": {"Effect": "Allow", "Principal": "all"}},
        {"Statement": {"Effect": "Allow", "Principal": {"AWS": {}}}},
        {"Statement": {"Effect": "Allow", "Condition": {"StringEquals": "x"}}},
    ],
    ids=str,
)
def test_what_is_no_policy_is_unreadable(policy):
    with pytest.raises(UnreadableError):
        check_role(ROLE, policy)


def test_a_single_statement_needs_no_list():
    role = Role(arn=ROLE.arn, providers=(PROVIDER,))
    policy = trust_policy(role)
    assert check_role(role, {**policy, "Statement": policy["Statement"][0]}) == []


ACCOUNT = Account(partition="aws", account="123456789012", providers=(PROVIDER,), roles=(ROLE,))


@each_case(
    ("url", "client_ids", "findings"),
    [
        (KEY, ["app", "cli"], []),
        (KEY, ["app"], [("missing", "client id cli")]),
        (KEY, ["app", "cli", "x"], [("too wide", "client id x is not one that tokens need")]),
        (
            "tenant.auth0.com",
            ["app", "cli"],
            [
                (
                    "missing",
                    f"tenant.auth0.com is not the URL of a configured issuer; STS compares it exactly with {KEY}",
                )
            ],
        ),
        ("x.example", [], [("missing", "x.example is not the URL of a configured issuer")]),
    ],
)
def test_a_provider_is_compared_with_its_issuer(url, client_ids, findings):
    assert check_provider(ACCOUNT, url, client_ids) == findings
