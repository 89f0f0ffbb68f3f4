"""``explain`` and the server agree: the same requests through both, outcome, reason, status and role alike.

The server's side here shares no code with explain's: the messages are written by envoy-data-plane,
and the answer is read from what Envoy would get.
"""

import base64
import inspect
import json
import re

import pytest

from extproc import config
from extproc.app import snapshot
from extproc.app.process_state import ProcessState
from extproc.explain.facts import facts
from extproc.explain.run import Environment, explain_claims, explain_request, explain_token
from extproc.explain.text import WIDTH, lines
from extproc.request.stream import Stream
from extproc.values import Credentials
from support.envoy_messages import Seen, body_message, headers_message, trailers_message, with_jwt_payload
from support.tokens import AUDIENCE, ISSUER, KID, NOW, FakeClock, claims, key_set, mint, public_jwk, rsa_key

ROLE = "arn:aws:iam::123456789012:role/"
SCOPED, ENVOYS, EXCHANGED = "https://scoped.example", "https://envoys.example", "https://exchanged.example"
APP = "https://app.example"
JSON = {"content-type": "application/json"}


def document(keys):
    issuer = {"audiences": [AUDIENCE], "jwks_file": str(keys)}
    return {
        "resource": {"url": AUDIENCE},
        "allowed_origins": [APP],
        "issuers": [
            {"issuer": ISSUER, **issuer},
            {"issuer": SCOPED, **issuer, "required_scopes": ["mcp"], "required_claims": {"tenant": "t1"}},
            {"issuer": ENVOYS, **issuer, "verified_by": "envoy"},
            {
                "issuer": EXCHANGED,
                **issuer,
                "sts_token_header": "x-id-token",
                "sts_token_audiences": ["client-1"],
            },
        ],
        "targets": [
            {"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"},
            {"name": "s3", "host": "b.s3.us-east-1.amazonaws.com", "region": "us-east-1", "service": "s3"}
            | {"prefix": "/s3"},
            {"name": "lattice", "host": "x.vpc-lattice-svcs.us-east-1.on.aws", "prefix": "/lattice"},
        ],
        "limits": {"request_body_bytes": 4096, "mcp_body_bytes": 2048},
        "scopes": {"aws:*": ["aws:call", "aws:write"]},
        "role_mappings": [
            {"name": "never", "matcher": 'mcp.tool == "rm"', "effect": "deny"},
            {
                "name": "scripts",
                "matcher": 'mcp.tool == "script"',
                "effect": "deny",
                "require_scopes": ["aws:call"],
            },
            {"name": "blocked", "matcher": "claims.risk > 5", "effect": "deny", "issuers": [SCOPED]},
            {"name": "uploads", "matcher": 'request.target == "s3"', "role_arn": ROLE + "S3", "priority": 1},
            {"name": "level", "matcher": "int(claims.level) > 3", "role_arn": ROLE + "Level", "priority": 2},
            {
                "name": "writers",
                "claim": "writers",
                "role_arn": ROLE + "W",
                "require_scopes": ["aws:write"],
                "priority": 3,
            },
            {"name": "admins", "claim": "admins", "role_arn": ROLE + "Admin", "priority": 4},
        ],
        "ceilings": [{"name": "agents", "matcher": "has(claims.act)", "max_mapping": "admins"}],
    }


def call(tool="ls", **members):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}, **members}


def token(**changes):
    return {"groups": ["admins"], **changes}


def exchanged(**changes):
    """A token for STS, beside the usual one of that issuer."""
    return mint(claims(**{"iss": EXCHANGED, "aud": "client-1", **changes}))


POST = {"headers": JSON, "body": call()}
GET = {"method": "GET"}
PREFLIGHT = {"method": "OPTIONS", "headers": {"origin": APP, "access-control-request-method": "POST"}}
METADATA = {"method": "GET", "path": "/.well-known/oauth-protected-resource/mcp"}


def post(headers=None, **members):
    return {**POST, "headers": {**JSON, **(headers or {})}, **members}


# name: request, claims (None: no token; a string: an authorization value), reason or None
CASES = {
    "a call": (POST, token(), None),
    "no body": (GET, token(), None),
    "an empty body": (post(body=""), token(), None),
    "a denied tool": (post(body=call("rm")), token(), "policy_denied"),
    "no role": (POST, token(groups=[]), "no_role"),
    "no role claim": (POST, token(groups=None), "no_role"),
    "a role claim of another type": (POST, token(groups="admins"), "policy_error"),
    "a claim that does not convert": (POST, token(level=None, groups=["admins"]), None),
    "a claim that is null": (POST, token(level={"a": 1}), "policy_error"),
    "an agent": (POST, token(level=9, act={"sub": "agent"}), None),
    "a long subject": (POST, token(sub="x" * 300), "claim_invalid"),
    # the token
    "no token": (POST, None, "token_missing"),
    "another scheme": (POST, "Basic YTpi", "token_missing"),
    "no token behind the scheme": (POST, "Bearer ", None),
    "two tokens": (POST, "Bearer a.b.c, Bearer d.e.f", "authorization_malformed"),
    "two values": (post({"authorization": ["Bearer a.b.c", "Bearer d.e.f"]}), None, "authorization_malformed"),
    "signed by the client": (POST, "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c", None),
    "claims that are nested deeply": (POST, token(a=json.loads("[" * 20 + "]" * 20)), "token_malformed"),
    "a time that is none": (POST, token(exp="tomorrow"), "claim_invalid"),
    "a subject that is none": (POST, token(sub=5), "claim_invalid"),
    "a number beyond CEL's": (POST, token(n=2**70), "policy_error"),
    "a claim with U+0000": (POST, token(team="a\0"), "claims_invalid"),
    "no token at all": (POST, "Bearer a b", "authorization_malformed"),
    "a token that is none": (POST, "Bearer e30.e30", "token_malformed"),
    "expired": (POST, token(exp=NOW - 60), "token_expired"),
    "not yet valid": (POST, token(nbf=NOW + 100), "token_not_yet_valid"),
    "another issuer": (POST, token(iss="https://evil.example"), "issuer_unknown"),
    "another audience": (POST, token(aud="https://other.example"), "audience_wrong"),
    "forged": (POST, "Bearer " + mint(claims(groups=["admins"]), key=rsa_key("stranger")), "signature_invalid"),
    "unsigned": (POST, "Bearer " + mint(claims(), {"alg": "none"}), "algorithm_refused"),
    "a key that nobody has": (POST, "Bearer " + mint(claims(), {"alg": "RS256", "kid": "x"}), "key_unknown"),
    # of other issuers
    "scopes": (POST, token(iss=SCOPED, scope="a mcp", tenant="t1", risk=1), None),
    "no scope for a tool": (post(body=call("script")), token(scope="aws:write x"), "scope_missing"),
    "no scope for a tool, and no role": (post(body=call("script")), token(groups=[]), "no_role"),
    "a broader scope for a tool": (post(body=call("script")), token(scope="aws:*"), None),
    "no scope for a role": (POST, token(groups=["writers"], scope="aws:call"), "scope_missing"),
    "no scope for a role and a tool": (post(body=call("script")), token(groups=["writers"]), "scope_missing"),
    "no scope for the first of two roles": (POST, token(groups=["writers", "admins"]), None),
    "scopes for a role": (POST, token(groups=["writers"], scp=["aws:write"]), None),
    "no scope for what a ceiling lowers": (POST, token(groups=["writers"], act={"sub": "a"}), "scope_missing"),
    "no scope": (POST, token(iss=SCOPED, scope="a", tenant="t1", risk=1), "scope_missing"),
    "no tenant": (POST, token(iss=SCOPED, scope="mcp", risk=1), "claim_required"),
    "a deny rule without its claim": (POST, token(iss=SCOPED, scope="mcp", tenant="t1"), "policy_denied"),
    "verified by Envoy": (POST, token(iss=ENVOYS), None),
    "not verified by Envoy": ({**POST, "jwt_payload": None}, token(iss=ENVOYS), "envoy_unverified"),
    "another one verified by Envoy": (
        {**POST, "jwt_payload": claims(iss=ENVOYS, sub="mallory")},
        token(iss=ENVOYS),
        "envoy_unverified",
    ),
    "numbers that Envoy cannot hold": (POST, token(iss=ENVOYS, n=2**60 + 1), "envoy_unverified"),
    "expired, verified by Envoy": (POST, token(iss=ENVOYS, exp=NOW - 60), "token_expired"),
    "a token for STS": (post({"x-id-token": exchanged()}), token(iss=EXCHANGED), None),
    "no token for STS": (POST, token(iss=EXCHANGED), "exchange_token_missing"),
    "a stranger's token for STS": (
        post({"x-id-token": exchanged(sub="bob")}),
        token(iss=EXCHANGED),
        "exchange_token_foreign",
    ),
    "an expired token for STS": (post({"x-id-token": exchanged(exp=1)}), token(iss=EXCHANGED), "token_expired"),
    "two tokens for STS": (
        post({"x-id-token": [exchanged(), exchanged()]}),
        token(iss=EXCHANGED),
        "authorization_malformed",
    ),
    "a token for STS that none asked for": (post({"x-id-token": exchanged()}), token(), "authorization_malformed"),
    # the head
    "TRACE": ({**GET, "method": "TRACE"}, token(), "request_ambiguous"),
    "CONNECT": ({"method": "CONNECT"}, token(), "upgrade_refused"),
    "a method in lower case": ({**GET, "method": "get"}, token(), "request_ambiguous"),
    "an upgrade": ({**GET, "headers": {"connection": "upgrade", "upgrade": "websocket"}}, token(), "upgrade_refused"),
    "a foreign origin": (post({"origin": "https://evil.example"}), token(), "origin_refused"),
    "a null origin": (post({"origin": "null"}), token(), "origin_refused"),
    "an allowed origin": (post({"origin": APP}), token(), None),
    "a preflight": (PREFLIGHT, None, None),
    "a foreign preflight": (
        {**PREFLIGHT, "headers": {**PREFLIGHT["headers"], "origin": "https://evil.example"}},
        None,
        "origin_refused",
    ),
    "OPTIONS without an origin": ({"method": "OPTIONS"}, None, "token_missing"),
    "the metadata": (METADATA, None, None),
    "the metadata for a page": ({**METADATA, "headers": {"origin": "https://evil.example"}}, None, None),
    "the metadata by POST": ({**METADATA, "method": "POST"}, None, "token_missing"),
    "a content type that is not ASCII": (
        {"headers": {"content-type": "text/plaiñ"}, "body": call()},
        token(),
        "request_ambiguous",
    ),
    "a TAB in a content type": (post({"content-type": "application/json;\tx=1"}), token(), None),
    "a TAB around a content type": (post({"content-type": "\tapplication/json "}), token(), None),
    "two content types": (post({"content-type": ["a/b", "a/b"]}), token(), "request_ambiguous"),
    "a signature in the query": ({**GET, "path": "/mcp?X-Amz-Signature=1"}, token(), "signature_in_query"),
    "one in escapes": ({**GET, "path": "/mcp?x%2Damz-date=1"}, token(), "signature_in_query"),
    "dot segments": ({**GET, "path": "/mcp/%2e%2E/x"}, token(), "request_ambiguous"),
    "an empty segment": ({**GET, "path": "/mcp//x"}, token(), "request_ambiguous"),
    "a plus in the query": ({**GET, "path": "/mcp?a=b+c"}, token(), "request_ambiguous"),
    "a path of every kind": ({**GET, "path": "/mcp/%61;b=c?d=%7E&e"}, token(), None),
    "a path that is not ASCII": ({**GET, "path": "/mcp/é"}, token(), "request_ambiguous"),
    "a path with a control": ({**GET, "path": "/mcp/%00"}, token(), "request_ambiguous"),
    "another target": ({**GET, "path": "/s3/a//b"}, token(groups=[]), None),
    "an encoded slash for S3": ({**GET, "path": "/s3/a%2Fb"}, token(), "request_ambiguous"),
    "what begins like a prefix": ({**GET, "path": "/s3x"}, token(groups=[]), "no_role"),
    "a target that the route names": ({**GET, "target": "s3"}, token(groups=[]), None),
    "a target that nobody has": ({**GET, "target": "other"}, token(), "target_unknown"),
    "headers that are ours": (post({"x-amz-date": "x", "x-amz-security-token": "y", "cookie": "z"}), token(), None),
    "an operation of DynamoDB for MCP": (post({"x-amz-target": "DynamoDB_20120810.GetItem"}), token(), "header_refused"),
    "another method in a header": (post({"x-http-method-override": "DELETE"}), token(), "header_refused"),
    "a copy in S3": (
        {"method": "PUT", "path": "/s3/k", "headers": {"x-amz-copy-source": "/b/k"}},
        token(),
        None,
    ),
    # the body
    "a body over the limit": ({"body": "x" * 4097, "path": "/lattice/x"}, token(), "body_too_large"),
    "a message over the limit": (post(body="x" * 2049), token(), "body_too_large"),
    "a batch": (post(body=[call(), call("rm")]), token(), "mcp_malformed"),
    "no JSON": (post(body="rm"), token(), "mcp_not_json"),
    "members that come twice": (post(body='{"method":"a","method":"b"}'), token(), "mcp_malformed"),
    "UTF-16": (
        {"headers": JSON, "body_base64": base64.b64encode(json.dumps(call()).encode("utf-16")).decode()},
        token(),
        "mcp_not_json",
    ),
    "a charset": (post({"content-type": "application/json; charset=utf-16"}), token(), "mcp_malformed"),
    "a coding": (post({"content-encoding": "gzip"}), token(), "mcp_malformed"),
    "no content type": ({"body": call()}, token(), None),
    "headers that differ": (post({"mcp-method": "tools/call", "mcp-name": "other"}), token(), "mcp_headers_differ"),
    "two session ids": (post({"mcp-session-id": ["a", "b"]}), token(), "mcp_headers_differ"),
    "trailers and a body": ({**POST, "trailers": True}, token(), None),
    "trailers only": ({"trailers": True}, token(), "request_ambiguous"),
    "trailers only, and no role": ({"trailers": True}, token(groups=[]), "request_ambiguous"),
}  # fmt: skip
ANY_REASON = {
    "no token behind the scheme",
    "headers that are ours",
    "signed by the client",
    "a TAB in a content type",
}
"""What is decided about these is for other tests; here both sides need only agree."""

OF_TOKENS_ONLY = {"expired", "not yet valid", "not verified by Envoy", "another one verified by Envoy",
                  "numbers that Envoy cannot hold", "expired, verified by Envoy"}  # fmt: skip
"""Claims stand for a token that was verified: what of that they leave out."""


class AnySts:
    def assume(self, _token, _grant, _until):
        return Credentials("ASIA" + "0" * 16, "secret", "token", NOW + 900)

    def close(self):
        pass


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "jwks.json"
    keys.write_bytes(key_set(public_jwk(rsa_key(), kid=KID)))
    return config.validate(document(keys))


@pytest.fixture
def shared(settings):
    return ProcessState(settings, clock=FakeClock(), sts=AnySts())


@pytest.fixture
def built(settings, shared):
    return snapshot.build(settings, shared)


def given(case):
    """The request, its token if it has one of a user, and its claims."""
    request, whose, _ = CASES[case]
    if isinstance(whose, str):
        return post_with(request, whose), None, None
    body = None if whose is None else claims(**whose)
    return request, None if body is None else mint(body), body


def post_with(request, authorization):
    return {**request, "headers": {**request.get("headers", {}), "authorization": authorization}}


async def by_the_server(built, request, unverified_token, body):
    """What Envoy would get for the request; it speaks for itself, so that both sides share nothing."""
    fields = []
    for name, values in request.get("headers", {}).items():
        given_values = values if isinstance(values, list) else [values]
        fields += [(name, value.strip().encode().decode("latin-1")) for value in given_values]
    content = request.get("body", "")
    content = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    content = base64.b64decode(request["body_base64"]) if "body_base64" in request else content
    method = request.get("method", "POST")
    path = "" if method == "CONNECT" else request.get("path", "/mcp")
    head = headers_message(
        method=method,
        path=path.encode().decode("latin-1"),
        token=unverified_token,
        headers=fields,
        end_of_stream=not content and not request.get("trailers"),
    )
    payload = request.get("jwt_payload", body if body and body["iss"] == ENVOYS else None)
    messages = [with_jwt_payload(head, payload) if payload else head]
    messages += [body_message(content)] if content else []
    messages += [trailers_message()] if request.get("trailers") else []
    stream = Stream(built.pipeline, target_name=request.get("target"))
    for message in messages:
        answer = stream.receive(message)
        answer = await answer if inspect.isawaitable(answer) else answer
        if answer.last or answer.may_end:
            return told_by(Seen(answer.message))
    raise AssertionError("no last answer")


def told_by(seen):
    told = seen.decision_metadata
    challenge = seen.set.get("www-authenticate", "")
    asked_for = re.search(r' scope="([^"]*)"', challenge) if "insufficient_scope" in challenge else None
    return {
        "outcome": "deny" if told["decision"] == "deny" else "allow",
        "reason": told.get("reason") or None,
        "role_arn": told["role_arn"] if told["decision"] == "allow" else None,
        "status": seen.status,
        "scopes": asked_for.group(1).split() if asked_for else None,
    }


def told_by_explain(explanation):
    told = facts(explanation)
    for line in lines(told):
        assert len(line) <= WIDTH or " " not in line.strip(), line
    return {name: told.get(name) for name in ("outcome", "reason", "role_arn", "status", "scopes")}


@pytest.fixture
def environment(settings, shared, built):
    return Environment(settings, built.policy, built.targets, built.verifier, shared.deny_list, shared.clock)


@pytest.mark.parametrize("case", CASES)
async def test_a_request_with_its_token_is_explained_as_the_server_decides_it(
    case, built, environment, shared
):
    request, unverified_token, body = given(case)
    served = await by_the_server(built, request, unverified_token, body)
    asked = json.dumps(request).encode()
    if unverified_token is None:
        explanation = await explain_request(environment, asked)
    else:
        explanation = await explain_token(environment, unverified_token, asked)
    assert told_by_explain(explanation) == served
    if case not in ANY_REASON:
        assert served["reason"] == CASES[case][2]
    shown = json.dumps(facts(explanation)) + "\n".join(lines(facts(explanation)))
    secrets = [unverified_token, request.get("headers", {}).get("x-id-token")]
    for secret in filter(None, secrets):
        for part in secret if isinstance(secret, list) else [secret]:
            assert not any(piece in shown for piece in part.split("."))


@pytest.mark.parametrize(
    "case", [case for case in CASES if isinstance(CASES[case][1], dict) and case not in OF_TOKENS_ONLY]
)
async def test_claims_in_the_place_of_the_token_come_out_alike(case, built, environment):
    request, unverified_token, body = given(case)
    served = await by_the_server(built, request, unverified_token, body)
    explanation = await explain_claims(environment, json.dumps(body).encode(), json.dumps(request).encode())
    assert told_by_explain(explanation) == served


async def test_nothing_of_an_explanation_is_kept_or_counted(environment, shared):
    for case in CASES:
        request, unverified_token, _ = given(case)
        if unverified_token:
            await explain_token(environment, unverified_token, json.dumps(request).encode())
    assert (len(shared.sessions), shared.sessions.credentials) == (0, 0)
    value = shared.metrics.registry.get_sample_value
    assert not value("extproc_requests_total", {"decision": "allow", "reason": ""})


async def test_the_table_is_of_all_kinds():
    reasons = {reason for _, _, reason in CASES.values()}
    assert len(CASES) >= 80
    assert len(reasons) >= 25
