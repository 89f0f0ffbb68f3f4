"""Role chains at the emulated STS: who may assume a second role, for how long, and what goes on."""

import time
import xml.etree.ElementTree as ET

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support.emulated_account import ROLE, XML, account, ask, refusal
from support.settings import minimal_settings

ISSUER = "https://idp.example.com/"
SECOND = "arn:aws:iam::210987654321:role/Second"
TAGS = {
    "https://aws.amazon.com/tags": {
        "principal_tags": {"team": ["blue"], "cost": ["7"]},
        "transitive_tag_keys": ["team"],
    },
    "https://aws.amazon.com/source_identity": "alice",
}


@pytest.fixture(scope="module")
def sts():
    chain = {"role_arn": SECOND, "external_id": "gateway-1"}
    mapping = {"claim": "x", "role_arn": ROLE, "chain": chain}
    settings = minimal_settings(role_mappings=[mapping])
    with account(settings, ISSUER, session_tags=True, source_identity=True) as sts:
        yield sts


def first(sts, **claims):
    answer = ask(sts, ISSUER, **claims)
    assert answer.status_code == 200, answer.text
    return credentials(answer)


def credentials(answer):
    assert answer.status_code == 200, answer.text
    found = next(ET.fromstring(answer.text).iter(f"{XML}Credentials"))
    return Credentials(
        *(found.findtext(f"{XML}{name}") for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    )


def chained(sts, signer, *, without=(), **form):
    usual = {"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": SECOND, "RoleSessionName": "alice"}
    usual |= {"DurationSeconds": "3600", "ExternalId": "gateway-1"}
    form = {name: value for name, value in {**usual, **form}.items() if name not in without}
    request = AWSRequest("POST", "http://testserver/", data=form, headers={"host": "testserver"})
    request.headers["content-type"] = "application/x-www-form-urlencoded"
    prepared = request.prepare()
    if signer is not None:
        signed = AWSRequest("POST", prepared.url, data=prepared.body, headers=dict(prepared.headers))
        SigV4Auth(signer, "sts", "us-east-1").add_auth(signed)
        prepared = signed.prepare()
    return sts.post("/", content=prepared.body, headers=dict(prepared.headers))


def test_the_credentials_of_the_first_role_assume_the_second(sts):
    answer = chained(sts, first(sts))
    second = credentials(answer)
    assert "<AssumeRoleResponse" in answer.text
    assert "SubjectFromWebIdentityToken" not in answer.text
    kept = sts.get(f"/_control/credentials/{second.access_key}").json()
    assert kept["arn"] == "arn:aws:sts::210987654321:assumed-role/Second/alice"


def test_transitive_tags_and_source_identity_go_on_and_other_tags_do_not(sts):
    second = credentials(chained(sts, first(sts, **TAGS)))
    kept = sts.get(f"/_control/credentials/{second.access_key}").json()
    assert (kept["tags"], kept["source_identity"]) == ({"team": "blue"}, "alice")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"DurationSeconds": "3601"}, "ValidationError"),
        ({"DurationSeconds": "43200"}, "ValidationError"),
        ({"DurationSeconds": "899"}, "ValidationError"),
        ({"ExternalId": "other"}, "AccessDenied"),
        ({"ExternalId": "x"}, "ValidationError"),
        ({"without": ["ExternalId"]}, "AccessDenied"),
        ({"RoleArn": ROLE}, "AccessDenied"),
        ({"RoleArn": f"{SECOND}2"}, "AccessDenied"),
    ],
)
def test_what_the_second_role_does_not_allow_is_refused(sts, form, code):
    assert refusal(chained(sts, first(sts), **form))[0] == code


def test_a_chained_session_ends_after_an_hour_whatever_the_role_allows(sts):
    assert "1 hour session limit" in refusal(chained(sts, first(sts), DurationSeconds="7200"))[1]


@pytest.mark.parametrize(
    ("signer", "code"),
    [
        (None, "MissingAuthenticationToken"),
        (Credentials("ASIANOBODY", "secret", "token"), "InvalidClientTokenId"),
    ],
)
def test_only_issued_credentials_assume_a_second_role(sts, signer, code):
    assert refusal(chained(sts, signer))[0] == code


def test_another_secret_is_refused(sts):
    issued = first(sts)
    forged = Credentials(issued.access_key, "x" * 40, issued.token)
    assert refusal(chained(sts, forged))[0] == "SignatureDoesNotMatch"


def test_credentials_of_the_second_role_do_not_assume_it_once_more(sts):
    assert refusal(chained(sts, credentials(chained(sts, first(sts)))))[0] == "AccessDenied"


def test_the_end_is_in_an_hour_at_most(sts):
    answer = chained(sts, first(sts))
    ends = next(ET.fromstring(answer.text).iter(f"{XML}Expiration")).text
    assert time.mktime(time.strptime(ends, "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime()) <= 3600
