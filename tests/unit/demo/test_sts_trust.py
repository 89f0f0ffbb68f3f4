"""The emulator evaluates trust policies as IAM does."""

import pytest

from extproc.demo.sts_trust import TrustDocument
from support.tables import each_case

ARN = "arn:aws:iam::123456789012:oidc-provider/idp.example.com"
ACTION = "sts:AssumeRoleWithWebIdentity"
CONTEXT = {
    "idp.example.com:aud": ("cli",),
    "idp.example.com:sub": ("staff-alice",),
    "idp.example.com:oaud": (),
}


def statement(condition=None, **change):
    entry = {
        "Effect": "Allow",
        "Principal": {"Federated": ARN},
        "Action": ACTION,
        "Condition": condition or {},
    }
    return {**entry, **change}


def permits(*statements):
    return TrustDocument.from_json({"Statement": list(statements)}).permits(ACTION, ARN, CONTEXT)


@each_case(
    ("condition", "expected"),
    [
        ({"StringEquals": {"idp.example.com:aud": "cli"}}, True),
        ({"StringEquals": {"IDP.example.com:AUD": ["x", "cli"]}}, True),
        ({"StringEquals": {"idp.example.com:aud": "c*"}}, False),
        ({"StringEquals": {"idp.example.com/:aud": "cli"}}, False),
        ({"StringEquals": {"idp.example.com:aud": "cli", "idp.example.com:sub": "x"}}, False),
        ({"StringLike": {"idp.example.com:sub": "staff-*"}}, True),
        ({"StringLike": {"idp.example.com:sub": "staff-alic?"}}, True),
        ({"StringLike": {"idp.example.com:sub": "[s]taff-*"}}, False),
        ({"StringNotEquals": {"idp.example.com:aud": "cli"}}, False),
        ({"StringNotLike": {"idp.example.com:aud": "x*"}}, True),
        ({"StringNotEquals": {"idp.example.com:oaud": "x"}}, True),
        ({"StringEquals": {"idp.example.com:oaud": "x"}}, False),
        ({"StringEqualsIfExists": {"idp.example.com:oaud": "x"}}, True),
        ({"ForAnyValue:StringEquals": {"idp.example.com:aud": "cli"}}, True),
    ],
)
def test_a_condition_is_compared_as_iam_compares_it(condition, expected):
    assert permits(statement(condition)) is expected


@each_case(
    ("change", "expected"),
    [
        ({"Action": "sts:*"}, True),
        ({"Action": ["sts:TagSession", "STS:assumerolewithwebidentity"]}, True),
        ({"Action": "sts:AssumeRole"}, False),
        ({"Principal": {"Federated": ARN + "/"}}, False),
        ({"Principal": "*"}, True),
        ({"Effect": "Deny"}, False),
    ],
)
def test_principal_action_and_effect_decide(change, expected):
    assert permits(statement(**change)) is expected


def test_a_denial_wins_and_nothing_allows_nothing():
    assert not permits(statement(), statement(Effect="Deny"))
    assert not permits()


@pytest.mark.parametrize(
    "entry",
    [
        statement({"IpAddress": {"aws:SourceIp": "192.0.2.1"}}),
        {**statement(), "NotAction": "x"},
        statement(Effect="Maybe"),
    ],
    ids=str,
)
def test_a_policy_that_cannot_be_evaluated_is_refused_when_it_is_read(entry):
    with pytest.raises(ValueError):
        TrustDocument.from_json({"Statement": entry})
