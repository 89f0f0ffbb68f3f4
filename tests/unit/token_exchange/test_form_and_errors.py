"""What a token endpoint is sent, and what its errors mean."""

import json
from urllib.parse import parse_qs, parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Reason
from extproc.token_exchange.client_authentication import Proof
from extproc.token_exchange.errors import TOKEN_EXCHANGE_OUTCOMES, denied
from extproc.token_exchange.form import RequestForm
from support.tables import each_case

PROOF = Proof(parameters={"client_id": "gateway", "client_secret": "s"})
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


def test_a_token_exchange_names_subject_token_audiences_resources_and_scope():
    form = RequestForm(
        "token-exchange",
        audiences=("a", "b"),
        resources=("https://r.example/",),
        scope="x y",
        subject_token_type=ACCESS_TOKEN,
        requested_token_type="urn:ietf:params:oauth:token-type:id_token",
    )
    assert parse_qs(form.body("t.o.k", PROOF).decode()) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": ["t.o.k"],
        "subject_token_type": [ACCESS_TOKEN],
        "requested_token_type": ["urn:ietf:params:oauth:token-type:id_token"],
        "audience": ["a", "b"],
        "resource": ["https://r.example/"],
        "scope": ["x y"],
        "client_id": ["gateway"],
        "client_secret": ["s"],
    }


def test_on_behalf_of_sends_the_token_as_an_assertion():
    form = RequestForm("jwt-bearer", scope="api://aws/.default")
    assert parse_qs(form.body("t.o.k", Proof()).decode()) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "assertion": ["t.o.k"],
        "requested_token_use": ["on_behalf_of"],
        "scope": ["api://aws/.default"],
    }


def test_what_is_not_configured_is_not_sent():
    body = RequestForm("token-exchange", subject_token_type=ACCESS_TOKEN).body("t", Proof()).decode()
    assert [name for name, _ in parse_qsl(body)] == ["grant_type", "subject_token", "subject_token_type"]


@given(st.text(), st.text(), st.text())
def test_no_value_becomes_another_parameter(audience, scope, token):
    form = RequestForm("jwt-bearer", audiences=(audience,), scope=scope)
    names = [name for name, _ in parse_qsl(form.body(token, Proof()).decode(), keep_blank_values=True)]
    assert names == [
        "grant_type",
        "assertion",
        "requested_token_use",
        "audience",
        *(["scope"] if scope else []),
    ]


@each_case(
    ("status", "answer", "reason"),
    [
        (400, {"error": "invalid_grant"}, Reason.TOKEN_EXCHANGE_REFUSED),
        (401, {"error": "invalid_token"}, Reason.TOKEN_EXCHANGE_REFUSED),
        (400, {"error": "invalid_request", "error_description": "Invalid token"}, Reason.TOKEN_EXCHANGE_REFUSED),
        (400, {"error": "invalid_request", "error_description": "invalid subject_token"}, Reason.TOKEN_EXCHANGE_REFUSED),
        (400, {"error": "invalid_request", "error_description": "Invalid token type"}, Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (400, {"error": "interaction_required", "suberror": "basic_action"}, Reason.TOKEN_EXCHANGE_INTERACTION),
        (400, {"error": "invalid_grant", "suberror": "consent_required"}, Reason.TOKEN_EXCHANGE_CONSENT),
        (400, {"error": "invalid_grant", "suberror": "additional_action"}, Reason.TOKEN_EXCHANGE_INTERACTION),
        (400, {"error": "invalid_grant", "suberror": "bad_token"}, Reason.TOKEN_EXCHANGE_REFUSED),
        (400, {"error": "login_required"}, Reason.TOKEN_EXCHANGE_INTERACTION),
        (403, {"error": "mfa_required"}, Reason.TOKEN_EXCHANGE_INTERACTION),
        (400, {"error": "consent_required"}, Reason.TOKEN_EXCHANGE_CONSENT),
        (403, {"error": "access_denied"}, Reason.TOKEN_EXCHANGE_DENIED),
        (401, {"error": "invalid_client"}, Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (400, {"error": "unauthorized_client"}, Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (400, {"error": "unsupported_grant_type"}, Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (400, {"error": "invalid_target"}, Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (400, {"error": "invalid_scope"}, Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (400, {"error": "something_new"}, Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (404, {}, Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (302, {}, Reason.TOKEN_EXCHANGE_MISCONFIGURED),
        (429, {"error": "invalid_grant"}, Reason.TOKEN_EXCHANGE_UNAVAILABLE),
        (500, {"error": "invalid_client"}, Reason.TOKEN_EXCHANGE_UNAVAILABLE),
        (400, {"error": "temporarily_unavailable"}, Reason.TOKEN_EXCHANGE_UNAVAILABLE),
    ],
)  # fmt: skip
def test_an_error_has_one_meaning(status, answer, reason):
    found = denied(status, json.dumps(answer).encode())
    assert found.reason is reason
    assert (found.reason.value, found.code) in TOKEN_EXCHANGE_OUTCOMES or found.code in (
        "interaction_required",
        "other",
    )


@each_case("code", ["invalid_client", "unauthorized_client", "invalid_target", "unknown_one"])
def test_a_fault_of_the_operator_names_the_next_step(code):
    assert "; " in denied(400, json.dumps({"error": code}).encode()).detail


@given(
    st.integers(100, 599),
    st.binary(max_size=80) | st.dictionaries(st.text(), st.text()).map(lambda d: json.dumps(d).encode()),
)
def test_nothing_of_an_answer_is_quoted(status, body):
    found = denied(status, body)
    assert found.code in {code for _, code in TOKEN_EXCHANGE_OUTCOMES}


def test_a_description_is_matched_and_never_passed_on():
    answer = {"error": "invalid_grant", "error_description": "canary AADSTS50013", "suberror": "canary"}
    found = denied(400, json.dumps(answer).encode())
    assert "canary" not in f"{found} {found.detail} {found.code}"
