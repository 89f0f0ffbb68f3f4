"""What AWS must know is derived from the configuration."""

import json
from itertools import pairwise

import pytest

from extproc.aws.documents import as_json, inline_policies, trust_policy
from extproc.aws.requirements import accounts, notes, warnings
from extproc.config.document import validate
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/team/Developer"
SECOND = "arn:aws:iam::210987654321:role/Prod"
AUDIENCE = "https://mcp.example.com/mcp"


def settings(*, issuer="https://idp.example.com", issuers=None, **change):
    document = {
        "resource": {"url": AUDIENCE},
        "issuers": issuers or [{"issuer": issuer, "audiences": [AUDIENCE]}],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "fallback_role_arn": ROLE,
        **change,
    }
    return validate({name: value for name, value in document.items() if value is not None})


def only_role(configuration, **options):
    (account,) = accounts(configuration, **options)
    (role,) = account.roles
    return role


def test_an_issuer_and_a_role_give_a_provider_and_a_trust_policy():
    document = json.loads(as_json(accounts(settings())))
    assert document == {
        "accounts": [
            {
                "account": "123456789012",
                "partition": "aws",
                "oidc_providers": [{"url": "https://idp.example.com", "client_ids": [AUDIENCE]}],
                "roles": [
                    {
                        "arn": ROLE,
                        "max_session_duration": 3600,
                        "trust_policy": {
                            "Version": "2012-10-17",
                            "Statement": [
                                {
                                    "Effect": "Allow",
                                    "Principal": {
                                        "Federated": "arn:aws:iam::123456789012:oidc-provider/idp.example.com"
                                    },
                                    "Action": "sts:AssumeRoleWithWebIdentity",
                                    "Condition": {"StringEquals": {"idp.example.com:aud": AUDIENCE}},
                                }
                            ],
                        },
                        "inline_policies": {},
                    }
                ],
            }
        ]
    }


@each_case(
    "issuer",
    [
        "https://tenant.auth0.com/",
        "https://org.okta.com/oauth2/default",
        "https://login.microsoftonline.com/0000/v2.0",
        "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCd",
    ],
)
def test_a_path_and_a_slash_at_the_end_stay_in_url_arn_and_condition_key(issuer):
    configuration = settings(issuer=issuer)
    (statement,) = trust_policy(only_role(configuration))["Statement"]
    key = issuer.removeprefix("https://")
    assert statement["Principal"]["Federated"] == f"arn:aws:iam::123456789012:oidc-provider/{key}"
    assert statement["Condition"] == {"StringEquals": {f"{key}:aud": AUDIENCE}}
    assert accounts(configuration)[0].providers[0].issuer == issuer


def test_a_required_azp_is_the_client_id_and_the_audience_becomes_oaud():
    issuer = {
        "issuer": "https://idp.example.com",
        "audiences": [AUDIENCE],
        "required_claims": {"azp": ["cli", "app"]},
    }
    role = only_role(settings(issuers=[issuer]))
    assert role.providers[0].client_ids == ("app", "cli")
    (statement,) = trust_policy(role)["Statement"]
    assert statement["Condition"]["StringEquals"] == {
        "idp.example.com:aud": ["app", "cli"],
        "idp.example.com:oaud": AUDIENCE,
    }


def test_of_a_token_in_another_header_sts_sees_that_tokens_audiences():
    issuer = {
        "issuer": "https://idp.example.com",
        "audiences": [AUDIENCE],
        "required_claims": {"azp": "cli"},
        "sts_token_header": "x-id-token",
        "sts_token_audiences": ["client-1"],
    }
    (provider,) = only_role(settings(issuers=[issuer])).providers
    assert (provider.client_ids, provider.original_audiences) == (("client-1",), ())


EXCHANGE = {
    "grant": "token-exchange",
    "client_id": "gateway",
    "client_secret_file": "/run/secrets/client",
    "token_audiences": ["aws"],
}


def exchanging(**change):
    return {
        "issuer": "https://idp.example.com",
        "audiences": [AUDIENCE],
        "required_claims": {"azp": "cli"},
        "token_exchange": {**EXCHANGE, **change},
    }


def test_after_an_exchange_sts_sees_the_exchanged_tokens_audiences_and_azp():
    (provider,) = accounts(settings(issuers=[exchanging()]))[0].providers
    assert (provider.client_ids, provider.original_audiences) == (("aws",), ())
    exchanged = exchanging(token_required_claims={"azp": "gateway"})
    (provider,) = accounts(settings(issuers=[exchanged]))[0].providers
    assert (provider.client_ids, provider.original_audiences) == (("gateway",), ("aws",))


def test_exchanged_tokens_of_another_issuer_share_its_provider():
    other = {"issuer": "https://other.example.com", "audiences": [AUDIENCE]}
    exchanged = exchanging(token_issuer="https://other.example.com")
    (provider,) = accounts(settings(issuers=[exchanged, other]))[0].providers
    assert provider.issuer == "https://other.example.com"
    assert provider.client_ids == tuple(sorted(["aws", AUDIENCE]))


def test_an_azp_of_exchanged_tokens_that_is_not_required_is_a_note():
    assert "token_exchange.token_required_claims.azp" in next(notes(settings(issuers=[exchanging()])))


def test_a_mapping_of_some_issuers_trusts_only_those():
    issuers = [{"issuer": f"https://{name}.example", "audiences": [AUDIENCE]} for name in ("b", "a")]
    mapping = {"claim": "x", "role_arn": ROLE, "issuers": ["https://b.example"]}
    configuration = settings(issuers=issuers, fallback_role_arn=None, role_mappings=[mapping])
    assert [entry.issuer for entry in only_role(configuration).providers] == ["https://b.example"]
    assert [entry.issuer for entry in only_role(settings(issuers=issuers)).providers] == [
        "https://a.example",
        "https://b.example",
    ]


def test_a_ceiling_gives_its_mapping_to_the_issuers_that_it_caps():
    issuers = [{"issuer": f"https://{name}.example", "audiences": [AUDIENCE]} for name in ("a", "b", "c")]
    mappings = [
        {
            "name": "all",
            "claim": "x",
            "role_arn": SECOND,
            "issuers": ["https://a.example", "https://b.example"],
        },
        {"name": "least", "claim": "y", "role_arn": ROLE, "issuers": ["https://a.example"]},
    ]
    ceilings = [{"name": "agents", "claim": "z", "max_mapping": "least"}]
    configuration = settings(
        issuers=issuers, fallback_role_arn=None, role_mappings=mappings, ceilings=ceilings
    )
    roles = {role.arn: role for account in accounts(configuration) for role in account.roles}
    assert [entry.issuer for entry in roles[ROLE].providers] == ["https://a.example", "https://b.example"]


def test_the_longest_duration_of_a_roles_mappings_is_its_maximum():
    mappings = [
        {"name": str(seconds), "claim": "x", "role_arn": ROLE, "session_duration": seconds}
        for seconds in (900, 14400, 7200)
    ]
    assert only_role(settings(role_mappings=mappings)).max_session_duration == 14400
    assert only_role(settings(session_duration=900)).max_session_duration == 3600


def test_a_chain_has_two_sides():
    mapping = {"claim": "x", "role_arn": ROLE, "chain": {"role_arn": SECOND, "external_id": "tenant-1"}}
    configuration = settings(fallback_role_arn=None, role_mappings=[mapping])
    first, second = (account.roles[0] for account in accounts(configuration))
    assert inline_policies(first) == {
        "extproc-chain": {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": [SECOND]}],
        }
    }
    assert trust_policy(second)["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"AWS": ROLE},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "tenant-1"}},
        }
    ]


def test_a_chain_to_several_accounts_has_a_role_in_each():
    numbers = ["111111111111", "222222222222"]
    chain = {"role_arn": "arn:aws:iam::{account}:role/Prod", "account": "claims.account", "accounts": numbers}
    mapping = {"claim": "x", "role_arn": ROLE, "chain": chain}
    found = accounts(settings(fallback_role_arn=None, role_mappings=[mapping]))
    assert [entry.account for entry in found] == ["123456789012", "111111111111", "222222222222"]
    assert [len(entry.providers) for entry in found] == [1, 0, 0]


def test_the_first_role_of_a_chain_precedes_the_second():
    arns = [f"arn:aws:iam::123456789012:role/{name}" for name in ("C", "B", "A")]
    mappings = [
        {"claim": "x", "role_arn": first, "chain": {"role_arn": second}} for first, second in pairwise(arns)
    ]
    (account,) = accounts(settings(fallback_role_arn=None, role_mappings=mappings))
    assert [role.name for role in account.roles] == ["C", "B", "A"]


def test_a_circle_of_chains_has_an_end():
    mappings = [
        {"claim": "x", "role_arn": first, "chain": {"role_arn": second}}
        for first, second in ((ROLE, SECOND), (SECOND, ROLE), (ROLE, ROLE))
    ]
    assert len(accounts(settings(fallback_role_arn=None, role_mappings=mappings))) == 2


def test_tags_and_source_identity_are_allowed_only_where_configured():
    mapping = {"claim": "x", "role_arn": ROLE, "chain": {"role_arn": SECOND}}
    configuration = settings(fallback_role_arn=None, role_mappings=[mapping])
    first, second = (
        account.roles[0] for account in accounts(configuration, session_tags=True, source_identity=True)
    )
    extra = ["sts:SetSourceIdentity", "sts:TagSession"]
    assert trust_policy(first)["Statement"][0]["Action"] == ["sts:AssumeRoleWithWebIdentity", *extra]
    assert inline_policies(first)["extproc-chain"]["Statement"][0]["Action"] == ["sts:AssumeRole", *extra]
    assert trust_policy(second)["Statement"][0]["Action"] == ["sts:AssumeRole", *extra]


def test_a_required_claim_of_aws_is_configuration_enough():
    issuer = {
        "issuer": "https://idp.example.com",
        "audiences": [AUDIENCE],
        "required_claims": {"https://aws.amazon.com/source_identity": "alice"},
    }
    (statement,) = trust_policy(only_role(settings(issuers=[issuer])))["Statement"]
    assert statement["Action"] == ["sts:AssumeRoleWithWebIdentity", "sts:SetSourceIdentity"]


def test_other_partitions_keep_their_arns():
    role = only_role(settings(fallback_role_arn="arn:aws-cn:iam::123456789012:role/R"))
    assert trust_policy(role)["Statement"][0]["Principal"]["Federated"].startswith("arn:aws-cn:iam::")


def test_a_subject_pattern_is_a_string_like_condition():
    (statement,) = trust_policy(only_role(settings()), subject="staff-*")["Statement"]
    assert statement["Condition"]["StringLike"] == {"idp.example.com:sub": "staff-*"}


def test_the_deny_of_other_ways_spares_the_chain_that_extproc_makes_itself():
    mapping = {"claim": "x", "role_arn": ROLE, "chain": {"role_arn": SECOND}}
    configuration = settings(fallback_role_arn=None, role_mappings=[mapping])
    first, second = (account.roles[0] for account in accounts(configuration))
    name = "extproc-only-through-aws-mcp"
    condition = {"BoolIfExists": {"aws:ViaAWSMCPService": "false"}}
    (denied,) = inline_policies(second, only_through_mcp=True)[name]["Statement"]
    assert denied == {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
    (denied,) = inline_policies(first, only_through_mcp=True)[name]["Statement"]
    assert denied["NotAction"] == ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]


@pytest.mark.parametrize("issuer", ["https://idp.example.com:8443", "http://localhost:9000"])
def test_an_issuer_that_iam_does_not_take_is_a_warning(issuer):
    (warning,) = warnings(settings(issuer=issuer))
    assert warning == f"{issuer}: IAM takes only https:// issuers without port"


@pytest.mark.parametrize(
    "issuer",
    ["https://kubernetes.default.svc.cluster.local", "https://kubernetes", "https://idp.corp.internal/x"],
)
def test_an_issuer_that_sts_cannot_reach_is_a_warning(issuer):
    (warning,) = warnings(settings(issuer=issuer))
    assert warning.startswith(f"{issuer}: STS fetches the issuer's metadata and keys over the internet")


def test_more_client_ids_than_iam_takes_are_a_warning():
    issuer = {"issuer": "https://idp.example.com", "audiences": [f"client-{number}" for number in range(101)]}
    (warning,) = warnings(settings(issuers=[issuer]))
    assert "IAM's limit" in warning


def test_a_role_of_another_service_is_left_out_with_a_warning():
    foreign = "arn:minio:iam:::role/nOybJqMNzNmroqEKq5D0EUsRZw0"
    configuration = settings(
        fallback_role_arn=foreign, sts={"endpoint_url": "https://minio.example.com:9000"}
    )
    assert accounts(configuration) == []
    assert list(warnings(configuration)) == [f"fallback_role_arn: {foreign} is not a role of AWS; left out"]


def test_an_azp_that_is_not_required_is_a_note():
    assert "required_claims.azp" in next(notes(settings()))
    issuer = {"issuer": "https://idp.example.com", "audiences": [AUDIENCE], "required_claims": {"azp": "cli"}}
    assert list(notes(settings(issuers=[issuer]))) == []
