"""The closed list of denials: complete, constant, and fit for the wire."""

import re

from extproc.errors import Denied, Outcome, Reason
from support.tables import each_case

ERROR_DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")  # RFC 6750 3

ASKED = {
    reason.outcome.text
    for reason in Reason
    if reason.outcome.error == "access_denied" and reason is not Reason.ORIGIN_REFUSED
}


@each_case("reason", Reason)
def test_every_reason_has_an_outcome_that_is_an_error(reason):
    assert isinstance(reason.outcome, Outcome)
    assert 400 <= reason.outcome.status <= 599


@each_case("reason", Reason)
def test_every_text_and_code_fits_a_www_authenticate_attribute(reason):
    assert ERROR_DESCRIPTION.fullmatch(reason.outcome.text)
    if reason.outcome.error is not None:
        assert re.fullmatch(r"[a-z_]+", reason.outcome.error)


@each_case("reason", Reason)
def test_the_error_code_fits_the_status(reason):
    expected = {
        400: {"invalid_request"},
        401: {"invalid_token", None},
        403: {"access_denied", "insufficient_scope"},
        404: {"invalid_request"},
        413: {None},
        500: {"server_error"},
        502: {"server_error"},
        429: {"temporarily_unavailable"},
        431: {"invalid_request"},
        503: {"temporarily_unavailable"},
    }
    assert reason.outcome.error in expected[reason.outcome.status]


@each_case("reason", Reason)
def test_a_client_is_asked_to_retry_exactly_when_that_may_help(reason):
    assert (reason.outcome.retry_after is not None) is (reason.outcome.status in (429, 503))


@each_case("reason", Reason)
def test_no_text_says_whom_to_ask_where_a_login_or_waiting_helps(reason):
    assert reason.outcome.ask is (reason.outcome.status == 500 or reason.outcome.text in ASKED)


@each_case("reason", Reason)
def test_denials_that_lead_to_a_login_or_more_scopes_keep_their_status(reason):
    assert not (reason.outcome.allows_200 and reason.outcome.status in (400, 401))
    assert not (reason.outcome.allows_200 and reason.outcome.error == "insufficient_scope")


@each_case("reason", Reason)
def test_codes_of_json_rpc_errors_are_those_that_mcp_defines(reason):
    assert reason.outcome.rpc_code in (None, -32700, -32600, -32602, -32020, -32022)


def test_no_error_code_is_sent_to_a_client_without_a_token():
    assert [reason for reason in Reason if reason.outcome.status == 401 and reason.outcome.error is None] == [
        Reason.TOKEN_MISSING
    ]


def test_the_names_of_reasons_are_words_that_metrics_can_use():
    assert all(
        re.fullmatch(r"[a-z_]+", reason.value) and reason.name.lower() == reason.value for reason in Reason
    )


def test_a_denial_shows_its_reason_and_detail_to_the_operator():
    assert str(Denied(Reason.NO_ROLE)) == "no_role"
    assert str(Denied(Reason.NO_ROLE, "no mapping matched")) == "no_role: no mapping matched"
