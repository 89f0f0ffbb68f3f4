"""What the doctor says of a token exchange, by what the provider answers."""

import types

import pytest

from extproc.doctor import token_exchange as module
from extproc.doctor.finding import Result
from extproc.errors import Denied, Reason
from support.settings import minimal_settings

EXCHANGE = {
    "grant": "token-exchange",
    "token_endpoint": "https://idp.example/token",
    "client_id": "gateway",
    "token_audiences": ["aws"],
}


class FakeEndpoint:
    def __init__(self, answer):
        self.answer = answer

    def exchange(self, _token, _until):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self):
        pass


@pytest.fixture
def examined(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("s")

    async def examine(answer, *, token=None, file="secret", identity=None):
        exchange = {**EXCHANGE, "client_secret_file": str(tmp_path / file)}
        issuer = {"issuer": "https://idp.example", "audiences": ["a"], "token_exchange": exchange}
        settings = minimal_settings(issuers=[issuer], fallback_role_arn="arn:aws:iam::123456789012:role/R")
        if file == "secret":
            monkeypatch.setattr(module, "build_token_endpoint", lambda *_: FakeEndpoint(answer))
        examination = types.SimpleNamespace(
            settings=settings,
            clock=lambda: 0.0,
            aws_clock=lambda: 0.0,
            unverified_token=token,
            issuer=settings.issuers[0] if token else None,
            explanation=types.SimpleNamespace(identity=identity),
        )
        (finding,) = await module.token_exchange(examination)
        return finding

    return examine


@pytest.mark.parametrize(
    ("answer", "result", "words"),
    [
        (Denied(Reason.TOKEN_EXCHANGE_REFUSED, code="invalid_grant"), Result.PASS, "accepts this client"),
        (
            Denied(Reason.TOKEN_EXCHANGE_MISCONFIGURED, "no; check it", code="invalid_client"),
            Result.FAIL,
            "no",
        ),
        (Denied(Reason.TOKEN_EXCHANGE_MISCONFIGURED, "odd", code="invalid_request"), Result.WARN, "odd"),
        (Denied(Reason.TOKEN_EXCHANGE_UNAVAILABLE, "timed out"), Result.FAIL, "timed out"),
        ("any", Result.WARN, "a token that is none"),
    ],
)
async def test_without_a_token_the_provider_is_asked_with_one_that_is_none(examined, answer, result, words):
    finding = await examined(answer)
    assert finding.result is result
    assert words in finding.detail
    assert finding.next_step or result is Result.PASS


async def test_a_refusal_of_the_token_names_the_next_step(examined):
    finding = await examined(Denied(Reason.TOKEN_EXCHANGE_CONSENT, "no; advice"), token="t")
    assert (finding.result, finding.detail) == (Result.FAIL, "no")
    assert "consent" in finding.next_step


async def test_without_a_decision_an_exchanged_token_goes_no_further(examined):
    assert "no further" in (await examined("n.e.w", token="t")).detail


async def test_a_file_that_cannot_be_read_is_named(examined, tmp_path):
    finding = await examined(None, file="missing")
    assert finding.result is Result.FAIL
    assert str(tmp_path / "missing") in finding.detail
