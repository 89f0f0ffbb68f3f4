"""From an event to the steps that led to it."""

import pytest

from extproc import config
from extproc.console.docs import Docs, docs_folder, of_reason
from extproc.console.steps import FAIL, NOT_SAID, NOT_TRIED, PASS, mcp_body, request_of, steps_of
from extproc.errors import Reason
from support.admin import SETTINGS
from support.console import EVENT, ISSUER
from support.tables import each_case

DOCS = Docs(docs_folder())

NAMES = [
    "Request",
    "Format",
    "Issuer",
    "Header",
    "Key",
    "Signature",
    "Times",
    "Audience",
    "Subject",
    "Claims",
    "Scopes",
    "Revocation",
    "Message",
]


def results(**fields):
    steps = steps_of({**EVENT, **fields}, config.parse(SETTINGS))
    return {step.name: step.result for step in steps}


@each_case(
    ("reason", "fields", "failed"),
    [
        ("token_missing", {}, "Request"),
        ("token_malformed", {}, "Format"),
        ("issuer_unknown", {}, "Issuer"),
        ("signature_invalid", {}, "Signature"),
        ("token_expired", {}, "Times"),
        ("audience_wrong", {}, "Audience"),
        ("claim_invalid", {"detail": "sub is not a string"}, "Subject"),
        ("claim_invalid", {"detail": "exp is missing"}, "Times"),
        ("claim_required", {}, "Claims"),
        ("scope_missing", {"policy_us": None}, "Scopes"),
        ("scope_missing", {"policy_us": 5}, "Policy"),
        ("revoked", {}, "Revocation"),
        ("mcp_headers_differ", {}, "Message"),
        ("no_role", {}, "Policy"),
        ("sts_access_denied", {}, "Exchange"),
        ("user_busy", {}, "Exchange"),
        ("target_busy", {}, "Target"),
    ],
)
def test_what_came_before_the_refusal_passed_and_what_comes_after_was_not_tried(reason, fields, failed):
    found = results(reason=reason, **fields)
    names = list(found)
    position = names.index(failed)
    assert found[failed] == FAIL
    assert {found[name] for name in names[:position]} <= {PASS}
    assert {found[name] for name in names[position + 1 :]} <= {NOT_TRIED}


def test_an_allowed_request_passed_all_steps():
    assert set(results(decision="allow", reason="").values()) == {PASS}


@pytest.mark.parametrize(
    "fields", [{"reason": "internal"}, {"decision": "abandoned", "reason": ""}, {"reason": "x"}]
)
def test_what_the_event_does_not_say_is_not_made_up(fields):
    assert set(results(**fields).values()) == {NOT_SAID}


def test_the_ten_steps_say_what_they_compare():
    steps = steps_of(EVENT, config.parse(SETTINGS))
    assert [step.number for step in steps if step.number] == list(range(1, 11))
    text = {step.name: step.compared for step in steps}
    assert "https://mcp.example/mcp" in text["Audience"]
    assert ISSUER in text["Issuer"]
    unknown = {
        step.name: step.compared for step in steps_of({**EVENT, "issuer": None}, config.parse(SETTINGS))
    }
    assert unknown["Audience"] == "as the issuer's configuration requires"


def test_the_request_of_an_event_can_be_explained_again():
    request = request_of(EVENT, config.parse(SETTINGS))
    assert (request["method"], request["path"], request["target"]) == ("POST", "/mcp", "aws-mcp")
    assert request["body"]["params"] == {"name": "aws___call_aws", "arguments": {}}
    assert mcp_body("tools/list", "", {})["body"]["params"] == {}


@each_case("reason", list(Reason))
def test_every_reason_leads_to_a_page_that_is_there(reason):
    page, _, section = of_reason(reason.value).partition("#")
    html = DOCS.page(page)
    assert not section or f'id="{section}"' in html


def test_links_of_the_documentation_stay_in_the_console_or_leave_it_openly():
    for name in DOCS.names:
        html = DOCS.page(name)
        for part in html.split('href="')[1:]:
            href = part.partition('"')[0]
            assert href.startswith(("/docs/", "#", "https://", "http://")), (name, href)
            if href.startswith("/docs/"):
                assert DOCS.page(href.removeprefix("/docs/").partition("#")[0]), (name, href)
