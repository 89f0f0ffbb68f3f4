"""The doctor's words on tokens that STS would not take."""

import time

import pytest

from extproc.doctor.aws import exchange
from extproc.doctor.examination import Examination
from extproc.doctor.finding import Result
from extproc.doctor.token import token
from extproc.errors import Denied, Reason
from extproc.sts.aws_clock import AwsClock
from support.settings import minimal_settings
from support.tokens import KID, key_set, mint, public_jwk, rsa_key

AUDIENCE = "https://mcp.example.com/mcp"
ISSUER = "https://idp.example.com/"


class Sts:
    """Refuses every token."""

    endpoint_url = "https://sts.us-east-1.amazonaws.com"

    def assume(self, _token, _grant, _until):
        raise Denied(Reason.STS_MISCONFIGURED, "STS answered 400 InvalidIdentityToken")


@pytest.fixture
def examination(tmp_path):
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(public_jwk(rsa_key(), kid=KID)))

    def of(claims, **entry):
        now = int(time.time())
        usual = {"iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "iat": now, "exp": now + 600}
        stated = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        issuer = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(path), **entry}
        return Examination(
            settings=minimal_settings(
                issuers=[issuer], fallback_role_arn="arn:aws:iam::123456789012:role/Reader"
            ),
            clock=time.time,
            aws_clock=AwsClock(system=time.time),
            sts=Sts(),
            endpoints=[],
            unverified_token=mint(stated),
        )

    return of


async def test_a_token_with_azp_is_warned_of_and_its_refusal_has_the_next_step(examination):
    asked = examination({"azp": "new-client"})
    verified, warning = await token(asked)
    assert (verified.result, warning.result) == (Result.PASS, Result.WARN)
    assert "STS compares that, not aud" in warning.detail
    assert "(azp is 'new-client')" in warning.detail
    assert "required_claims.azp" in warning.next_step
    (failed,) = await exchange(asked)
    assert (failed.result, failed.next_step) == (Result.FAIL, warning.next_step)


async def test_a_refusal_without_objections_points_to_iam(examination):
    asked = examination({})
    await token(asked)
    (failed,) = await exchange(asked)
    assert "correct IAM as the message says; `extproc aws` prints" in failed.next_step


@pytest.mark.parametrize(
    ("claims", "entry", "detail", "next_step"),
    [
        ({"aud": None, "client_id": "x"}, {}, "aud is missing", "docs/idp has the ways"),
        (
            {"aud": ["a", "b"]},
            {},
            "the token has ['a', 'b'], audiences are",
            "add the token's aud to `audiences`",
        ),
        ({"iss": ISSUER[:-1]}, {}, f"which is {ISSUER}: a slash at the end counts", "exactly so"),
        ({"exp": "1790000000"}, {}, "exp is not an integer timestamp", "correct the provider"),
        (
            {"azp": "new"},
            {"required_claims": {"azp": "cli"}},
            "(azp is 'new'); required are ['cli']",
            "add the client to required_claims.azp, and to IAM",
        ),
        (
            {"azp": "cli"},
            {"required_claims": {"azp": "cli", "hd": "x"}},
            "claim hd is missing",
            "compare required_claims",
        ),
    ],
)
async def test_a_token_that_is_denied_is_named_with_cause_and_next_step(
    examination, claims, entry, detail, next_step
):
    (found,) = await token(examination(claims, **entry))
    assert found.result is Result.FAIL
    assert detail in found.detail
    assert next_step in found.next_step
