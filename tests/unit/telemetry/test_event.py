"""An audit event is one bounded line of ASCII JSON, with the decision and no secret."""

import json

from hypothesis import given
from hypothesis import strategies as st

from extproc.authn.token_identity import TokenIdentity
from extproc.telemetry.event import event_of, render, trace_id
from extproc.values import ChainedRole, Grant
from support.tables import each_case
from support.telemetry import GRANT, head, identity, record

TRACE = "0af7651916cd43dd8448eb211c80319c"
ANYTHING = st.text(max_size=3000)
LATIN = st.text(st.characters(max_codepoint=255), max_size=3000)


def rendered(made, detail=""):
    line = render(event_of(made, detail, 1_790_000_000.25))
    assert line.endswith(b"\n")
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert len(line.decode().splitlines()) == 1
    return json.loads(line)


def test_an_allow_names_who_what_which_role_and_how_long():
    made = record(
        head=head(
            headers=[
                ("x-request-id", "r-1"),
                ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),
                ("mcp-method", "tools/call"),
                ("mcp-name", "whoami"),
            ]
        ),
        identity=identity(jti="j-1", azp="cli", act={"sub": "agent", "act": {"sub": "outer"}}),
        grant=GRANT,
        access_key_id="ASIA1",
        cache="session",
        own=0.0105,
        sign=0.00002,
        stages={"policy": (1.0, 1.001), "exchange": (2.0, 2.5)},
    )
    assert rendered(made) == {
        "time": "2026-09-21T14:13:20.250000+00:00",
        "decision": "allow",
        "reason": "",
        "detail": "",
        "request_id": "r-1",
        "trace_id": TRACE,
        "issuer": "https://idp.example",
        "subject": "alice",
        "jti": "j-1",
        "client": "cli",
        "agent": ["agent", "outer"],
        "target": "aws-mcp",
        "method": "POST",
        "path": "/mcp",
        "mcp_method": "tools/call",
        "mcp_tool": "whoami",
        "mapping": "admins",
        "role_arn": "arn:aws:iam::123456789012:role/Admin",
        "session_name": "alice",
        "access_key_id": "ASIA1",
        "cache": "session",
        "duration_us": 10500,
        "verify_us": None,
        "policy_us": 1000,
        "exchange_us": 500000,
        "target_us": None,
        "sign_us": 20,
    }


def test_of_a_chain_the_last_role_is_named():
    grant = Grant(
        "arn:aws:iam::1:role/First", "alice", 900, None, chain=ChainedRole("arn:aws:iam::2:role/Last")
    )
    assert rendered(record(grant=grant))["role_arn"] == "arn:aws:iam::2:role/Last"


def test_the_message_that_rules_read_takes_precedence_over_its_headers():
    made = record(
        head=head(headers=[("mcp-method", "tools/call"), ("mcp-name", "whoami")]),
        mcp_method="resources/read",
        mcp_name="file:///secret",
    )
    assert (rendered(made)["mcp_method"], rendered(made)["mcp_tool"]) == ("resources/read", None)


def test_a_request_that_could_not_be_read_still_has_its_event():
    shown = rendered(record(head=None, target="", decision="deny", reason="protocol_violation"), "why")
    assert (shown["decision"], shown["reason"], shown["detail"]) == ("deny", "protocol_violation", "why")
    assert shown["request_id"] is None


def test_client_id_replaces_a_missing_azp():
    assert rendered(record(identity=identity(client_id="c")))["client"] == "c"


def test_the_chain_of_actors_is_bounded():
    actors = {"sub": "last"}
    for number in range(20):
        actors = {"sub": str(number), "act": actors}
    assert rendered(record(identity=identity(act=actors)))["agent"] == ["19", "18", "17", "16"]


@given(path=LATIN, value=LATIN, method=LATIN)
def test_whatever_clients_send_is_one_bounded_line_without_the_query(path, value, method):
    names = ("x-request-id", "traceparent", "mcp-method", "mcp-name")
    made = record(head=head(method=method, path=f"/{path}?canary-query", headers=[(n, value) for n in names]))
    line = render(event_of(made, value, 0.0))
    assert b"canary" not in line
    assert len(line.decode().splitlines()) == 1
    assert len(line) < 32 * 1024
    assert json.loads(line)["path"] == f"/{path}"[:1024].partition("?")[0]


@given(claims=st.dictionaries(st.sampled_from(["jti", "azp", "client_id", "act"]), st.recursive(
    ANYTHING | st.integers() | st.none() | st.characters(categories=["Cs"]),
    lambda inner: st.dictionaries(st.sampled_from(["sub", "act"]), inner))), subject=ANYTHING)  # fmt: skip
def test_whatever_claims_say_is_one_line(claims, subject):
    assert rendered(record(identity=identity(subject, **claims)))["subject"] == subject[:256]


def test_lone_surrogates_and_foreign_line_ends_are_escaped():
    assert (
        rendered(record(identity=identity("a\ud800\u2028\u0085\nb")))["subject"] == "a\ud800\u2028\u0085\nb"
    )


def test_the_event_holds_neither_head_nor_identity_which_refer_to_the_token():
    made = record(identity=TokenIdentity(identity(jti="1", act={"sub": "agent"}), "a.canary.c"), grant=GRANT)
    event = event_of(made, "", 0.0)
    reached = [event, *event, *event.caller, *event.caller.actors]
    assert not any(value is made.head or value is made.identity for value in reached)
    assert not any("canary" in repr(value) for value in reached)


@each_case(
    "header",
    [
        None,
        "",
        "00-" + "0" * 10,
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"00-{TRACE}-b7ad6b7169203331-01\n",
    ],
)
def test_an_invalid_traceparent_has_no_trace_id(header):
    assert trace_id(header) is None


def test_of_a_request_id_128_characters_are_kept():
    made = record(head=head(headers=[("x-request-id", "a" * 128 + "b" * 1000)]))
    assert rendered(made)["request_id"] == "a" * 128
