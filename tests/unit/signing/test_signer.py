"""Which headers are signed and set: an allow-list, whatever the client sends."""

import dataclasses
import hashlib
import re
from unittest.mock import Mock

import pytest

from extproc.errors import Denied, Reason
from extproc.signing import sigv4
from extproc.signing.payload import payload_of
from extproc.signing.signer import Signer, SigningMemo
from extproc.signing.sigv4 import Scope
from extproc.signing.targets import Target
from extproc.values import Credentials, RequestHead
from support.tables import each_case

NOW = 1_440_938_160.0
CREDENTIALS = Credentials(
    access_key_id="ASIAEXAMPLE",
    secret_access_key="secret",
    session_token="session-token",
    expires_at=NOW + 900,
)
MCP = Target(name="mcp", host="aws-mcp.us-east-1.api.aws", scope=Scope("us-east-1", "aws-mcp"))
S3 = Target(name="s3", host="b.s3.us-east-1.amazonaws.com", scope=Scope("us-east-1", "s3"))
LATTICE = Target(name="lattice", host="x.on.aws", scope=Scope("us-east-1", "vpc-lattice-svcs"))


def sign(*, headers=(), target=MCP, body=b"{}", method="POST", path="/mcp", query="", now=NOW):
    head = RequestHead(
        method=method,
        path=path,
        authority="gateway.example.com",
        headers=tuple(headers),
        has_body=bool(body),
    )
    return (
        Signer(clock=lambda: now)
        .sign(
            method=method,
            clients=target.client_headers.sort(head).signed,
            path=path,
            query=query,
            target=target,
            credentials=CREDENTIALS,
            payload=payload_of(body, head=head, target=target).hash,
        )
        .headers
    )


def signed_names(signed):
    return re.search(r"SignedHeaders=([^,]+), ", dict(signed)["authorization"])[1].split(";")


def signature(signed):
    return dict(signed)["authorization"].rpartition("=")[2]


def test_the_headers_to_set_are_authorization_date_and_session_token():
    signed = sign(headers=[("content-type", "application/json")])
    assert [name for name, _ in signed] == ["authorization", "x-amz-date", "x-amz-security-token"]
    headers = dict(signed)
    assert headers["x-amz-date"] == "20150830T123600Z"
    assert headers["x-amz-security-token"] == "session-token"
    assert headers["authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20150830/us-east-1/aws-mcp/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
    )


UNSIGNED = [
    "user-agent", "x-forwarded-for", "x-forwarded-proto", "content-length", "connection", "accept",
    "x-request-id", "x-envoy-attempt-count", "traceparent", "forwarded", "cookie", "mcp-session-id",
    "authorization", "x-amzn-trace-id", "expect", "transfer-encoding", "host",
]  # fmt: skip


@each_case("name", UNSIGNED)
def test_what_may_change_on_the_way_is_never_signed(name):
    plain, with_header = sign(), sign(headers=[(name, "anything")])
    assert with_header == plain
    assert signed_names(with_header) == ["host", "x-amz-date", "x-amz-security-token"]


@each_case("name", ["x-amz-date", "x-amz-security-token", "x-amz-content-sha256"])
@each_case("target", [MCP, S3], ids=["mcp", "s3"])
def test_the_clients_own_signature_headers_have_no_effect(name, target):
    assert sign(headers=[(name, "forged")], target=target) == sign(target=target)


def test_the_host_is_the_targets_and_not_the_authority():
    elsewhere = dataclasses.replace(MCP, host="other.example.com")
    assert signature(sign(target=elsewhere)) != signature(sign())


@each_case(
    "changed",
    [
        {"body": b"{} "},
        {"method": "GET"},
        {"path": "/mcp/"},
        {"query": "a="},
        {"headers": [("content-type", "text/plain")]},
        {"now": NOW + 1},
        {"target": dataclasses.replace(MCP, scope=Scope("us-east-2", "aws-mcp"))},
        {"target": dataclasses.replace(MCP, scope=Scope("us-east-1", "other"))},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_signature_covers(changed):
    assert signature(sign(**changed)) != signature(sign())


def test_a_target_names_more_headers_to_sign():
    target = dataclasses.replace(MCP, sign_headers=frozenset({"mcp-session-id", "x-absent"}))
    signed = sign(headers=[("mcp-session-id", "s1"), ("accept", "*/*")], target=target)
    assert signed_names(signed) == ["host", "mcp-session-id", "x-amz-date", "x-amz-security-token"]
    assert signature(signed) != signature(sign(headers=[("mcp-session-id", "s2")], target=target))


def test_two_content_type_headers_are_refused_since_servers_read_different_ones():
    with pytest.raises(Denied) as denied:
        sign(headers=[("content-type", "a/b"), ("content-type", "c/d")])
    assert denied.value.reason is Reason.REQUEST_AMBIGUOUS


def test_several_values_of_another_signed_header_are_signed_as_one_list_in_their_order():
    target = dataclasses.replace(MCP, sign_headers=frozenset({"x-list"}))
    both = sign(headers=[("x-list", "a"), ("x-list", "b")], target=target)
    assert both == sign(headers=[("x-list", "a,b")], target=target)
    assert signature(both) != signature(sign(headers=[("x-list", "b"), ("x-list", "a")], target=target))


@pytest.mark.parametrize("value", ["text/é", "a\x80b", "名"])
def test_a_header_to_be_signed_that_is_not_ascii_is_refused(value):
    with pytest.raises(Denied) as denied:
        sign(headers=[("content-type", value)])
    assert denied.value.reason is Reason.REQUEST_AMBIGUOUS
    assert value not in denied.value.detail


def test_a_header_that_is_not_signed_may_be_anything():
    assert sign(headers=[("x-name", "é")]) == sign()


def test_the_payload_hash_is_sent_for_s3_and_lattice_only():
    digest = hashlib.sha256(b"{}").hexdigest()
    assert "x-amz-content-sha256" not in dict(sign())
    for target in (S3, LATTICE):
        signed = sign(target=target)
        assert dict(signed)["x-amz-content-sha256"] == digest
        assert "x-amz-content-sha256" in signed_names(signed)


@pytest.mark.parametrize("target", [MCP, S3, LATTICE], ids=lambda target: target.name)
def test_an_unsigned_payload_is_announced_and_its_body_is_not_covered(target):
    target = dataclasses.replace(target, payload="unsigned")
    signed = sign(target=target, body=b"")
    assert dict(signed)["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert "x-amz-content-sha256" in signed_names(signed)
    assert sign(target=target, body=b"anything") == signed


def test_an_s3_path_is_signed_as_sent_and_another_one_encoded_again():
    assert signature(sign(target=S3, path="/a//b")) != signature(sign(target=S3, path="/a/b"))
    assert signature(sign(path="/a//b")) == signature(sign(path="/a/b"))


def test_no_secret_shows_in_the_repr():
    signed = Signer(clock=lambda: NOW).sign(
        method="GET", clients=(), path="/mcp", query="", target=MCP, credentials=CREDENTIALS, payload="hash"
    )
    for secret in ("session-token", signature(signed.headers)):
        assert secret in str(signed.headers)
        assert secret not in repr(signed)


def test_what_is_kept_from_one_request_changes_no_other_signature():
    """One signer for all of these, in every order, against a new one for each."""
    others = dataclasses.replace(CREDENTIALS, secret_access_key="other", session_token="other")
    renewed = dataclasses.replace(CREDENTIALS, session_token="renewed")
    json, text = (("content-type", "application/json"),), (("content-type", "text/plain"),)
    requests = [
        (NOW + seconds, target, credentials, headers, body)
        for seconds in (0, 0.9, 1, 86_400)
        for target in (MCP, S3)
        for credentials in (CREDENTIALS, others, renewed)
        for headers in (json, text, ())
        for body in (b"{}", b"[]")
    ]
    time = Mock(return_value=NOW)
    lasting = Signer(clock=time)
    memos = {id(each): SigningMemo() for each in (CREDENTIALS, others, renewed)}
    for order in (requests, requests[::-1], requests[::7] + requests[::5]):
        for now, target, credentials, headers, body in order:
            time.return_value = now
            head = RequestHead("POST", "/mcp", "gateway.example.com", headers, has_body=True)
            wanted = {
                "method": head.method,
                "clients": target.client_headers.sort(head).signed,
                "path": "/mcp",
                "query": "",
                "target": target,
                "credentials": credentials,
                "payload": payload_of(body, head=head, target=target).hash,
            }
            assert (
                lasting.sign(**wanted, memo=memos[id(credentials)]).headers
                == Signer(clock=time).sign(**wanted).headers
            )


def test_a_day_needs_one_derived_key_of_each_credentials_and_scope(monkeypatch):
    derived = []
    derive = sigv4.signing_key
    monkeypatch.setattr(sigv4, "signing_key", lambda *args: derived.append(args[1:]) or derive(*args))
    time = Mock(return_value=NOW)
    signer, memo = Signer(clock=time), SigningMemo()
    request = {"method": "GET", "clients": (), "path": "/mcp", "query": "", "payload": "hash"}
    for now, target in [(NOW, MCP), (NOW + 1, MCP), (NOW + 9, MCP), (NOW + 86_400, MCP), (NOW + 86_401, S3)]:
        time.return_value = now
        signer.sign(**request, target=target, credentials=CREDENTIALS, memo=memo)
    assert derived == [("20150830", MCP.scope), ("20150831", MCP.scope), ("20150831", S3.scope)]


def test_long_values_of_clients_are_signed_and_not_kept():
    signer, memo = Signer(clock=lambda: NOW), SigningMemo()

    def signed(value):
        return signer.sign(
            method="POST",
            clients=(("content-type", value),),
            path="/mcp",
            query="",
            target=MCP,
            credentials=CREDENTIALS,
            payload="",
            memo=memo,
        ).headers

    short, long = signed("a"), signed("a" * 1000)
    assert signed_names(short) == signed_names(long)
    assert signature(short) != signature(long)
    assert signed("a" * 1000) == long
    assert memo.present[1].clients == (("content-type", "a"),)


def test_what_requests_of_one_second_share_is_made_once(monkeypatch):
    signer, memo, made = Signer(clock=lambda: NOW), SigningMemo(), Mock(wraps=sigv4.canonical_headers)
    monkeypatch.setattr(sigv4, "canonical_headers", made)
    for target in (MCP, MCP, dataclasses.replace(MCP, name="other"), MCP):
        signer.sign(
            method="POST",
            clients=(),
            path="/mcp",
            query="",
            target=target,
            credentials=CREDENTIALS,
            payload="",
            memo=memo,
        )
    assert made.call_count == 3  # of two targets with the same credentials the last one is kept


def test_what_was_prepared_is_gone_when_a_later_second_is_signed():
    time = Mock(return_value=NOW)
    signer, memos = Signer(clock=time), [SigningMemo() for _ in range(3)]
    request = {"method": "GET", "clients": (), "path": "/mcp", "query": "", "payload": "hash"}

    def sign(memo):
        signer.sign(**request, target=MCP, credentials=CREDENTIALS, memo=memo)

    for number in range(3):
        sign(memos[number])
    assert all(memo.present is not None for memo in memos)
    time.return_value = NOW + 1
    memos.pop()  # of a session that has ended
    sign(memos[0])
    assert [memo.present is None for memo in memos] == [False, True]
