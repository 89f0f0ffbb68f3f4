"""Challenges and metadata that lead clients to a token."""

import json

import pytest

from extproc.authn.challenge import ProtectedResource
from extproc.errors import Reason
from support.tables import each_case

URL = "https://gateway.example/mcp"
METADATA = "/.well-known/oauth-protected-resource"


def _resource(url=URL, servers=("https://idp.example",), **options):
    return ProtectedResource(url=url, authorization_servers=list(servers), **options)


def test_without_credentials_the_challenge_has_no_error_code():
    assert _resource().challenge(Reason.TOKEN_MISSING) == (
        'Bearer resource_metadata="https://gateway.example/.well-known/oauth-protected-resource/mcp"'
    )


def test_a_refused_token_is_named_invalid():
    assert _resource().challenge(Reason.TOKEN_EXPIRED) == (
        'Bearer resource_metadata="https://gateway.example/.well-known/oauth-protected-resource/mcp", '
        'error="invalid_token", error_description="The access token has expired."'
    )


def test_a_malformed_header_is_an_invalid_request():
    assert (
        _resource()
        .challenge(Reason.AUTHORIZATION_MALFORMED)
        .endswith(
            'error="invalid_request", '
            'error_description="Exactly one bearer token is expected in the authorization header."'
        )
    )


@each_case("reason", Reason)
def test_every_challenge_stays_within_the_characters_of_rfc_6750(reason):
    outcome = reason.outcome
    assert all(0x20 <= ord(char) <= 0x7E and char not in '"\\' for char in outcome.text)
    challenge = _resource().challenge(reason)
    assert challenge.count('error="') == challenge.count("error_description=") == (outcome.error is not None)
    assert challenge.count("resource_metadata=") == 1


@each_case(
    "reason",
    [
        Reason.ISSUER_UNKNOWN,
        Reason.ALGORITHM_REFUSED,
        Reason.KEY_UNKNOWN,
        Reason.SIGNATURE_INVALID,
        Reason.AUDIENCE_WRONG,
        Reason.CLAIM_INVALID,
    ],
)
def test_the_client_cannot_tell_which_check_refused_its_token(reason):
    assert _resource().challenge(reason) == _resource().challenge(Reason.SIGNATURE_INVALID)


def test_the_metadata_document_names_the_resource_and_its_authorization_servers():
    document = _resource(servers=["https://idp.example", "https://other.example"]).metadata_for(
        "GET", METADATA
    )
    assert json.loads(document.body) == {
        "resource": "https://gateway.example/mcp",
        "authorization_servers": ["https://idp.example", "https://other.example"],
        "bearer_methods_supported": ["header"],
    }


@each_case("method", ["GET", "HEAD"])
@each_case("path", [METADATA, f"{METADATA}/mcp", f"{METADATA}?x=1", f"{METADATA}/mcp?"])
def test_the_document_is_at_both_well_known_paths(method, path):
    assert _resource().metadata_for(method, path) is not None


@each_case(
    ("method", "path"),
    [
        ("POST", METADATA),
        ("OPTIONS", "/mcp"),
        ("PUT", METADATA),
        ("get", METADATA),
        ("GET", "/mcp"),
        ("GET", f"{METADATA}/"),
        ("GET", f"{METADATA}/mcp/"),
        ("GET", f"{METADATA}/other"),
        ("GET", f"/mcp{METADATA}"),
        ("GET", f"/x/..{METADATA}"),
        ("GET", "/.well-known/oauth-protected-resourc%65"),
        ("GET", f"//{METADATA}"),
        ("GET", ""),
    ],
)
def test_nothing_else_is_answered_with_the_document(method, path):
    assert _resource().metadata_for(method, path) is None


@each_case(
    ("url", "metadata_url"),
    [
        ("https://gateway.example", f"https://gateway.example{METADATA}"),
        ("https://gateway.example/", f"https://gateway.example{METADATA}"),
        ("https://gateway.example:8443/mcp", f"https://gateway.example:8443{METADATA}/mcp"),
        ("http://127.0.0.1:10000/a/b", f"http://127.0.0.1:10000{METADATA}/a/b"),
        ("https://gateway.example/mcp/", f"https://gateway.example{METADATA}/mcp/"),
    ],
)
def test_the_well_known_path_goes_between_host_and_path(url, metadata_url):
    resource = _resource(url)
    assert resource.challenge(Reason.TOKEN_MISSING) == f'Bearer resource_metadata="{metadata_url}"'
    path = metadata_url[metadata_url.index("/.well-known") :]
    assert json.loads(resource.metadata_for("GET", path).body)["resource"] == url


def test_a_challenge_names_the_scopes_to_ask_for_with_and_without_a_token():
    resource = _resource(scopes=["mcp", "aws:read"])
    assert resource.challenge(Reason.TOKEN_MISSING).endswith(', scope="mcp aws:read"')
    assert ', scope="mcp aws:read", error="invalid_token"' in resource.challenge(Reason.TOKEN_EXPIRED)


def test_a_missing_scope_names_all_scopes_of_the_tokens_issuer():
    challenge = _resource(scopes=["mcp", "aws:read", "other"]).challenge(
        Reason.SCOPE_MISSING, ("mcp", "aws:read")
    )
    assert ', scope="mcp aws:read", error="insufficient_scope", ' in challenge
    assert Reason.SCOPE_MISSING.outcome.status == 403


def test_the_metadata_document_says_scopes_and_name_when_there_are_any():
    document = _resource(scopes=["mcp"], name="Our AWS").metadata_for("GET", METADATA)
    members = json.loads(document.body)
    assert (members["scopes_supported"], members["resource_name"]) == (["mcp"], "Our AWS")


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("OPTIONS", 204)])
def test_any_web_page_may_read_the_metadata_document(method, status):
    reply = _resource().metadata_for(method, METADATA)
    assert reply.status == status
    assert dict(reply.headers)["access-control-allow-origin"] == "*"
    assert reply.reason is None


def test_the_preflight_of_the_document_allows_every_header():
    headers = dict(_resource().metadata_for("OPTIONS", f"{METADATA}/mcp").headers)
    assert headers["access-control-allow-methods"] == "GET, HEAD"
    assert headers["access-control-allow-headers"] == "*"


LOCALHOST = "http://localhost:10000/mcp"
LOOPBACK = "http://127.0.0.1:10000/mcp"


@each_case(
    ("authority", "expected"),
    [
        ("localhost:10000", LOCALHOST),
        ("LocalHost:10000", LOCALHOST),
        ("127.0.0.1:10000", LOOPBACK),
        ("other.example", LOCALHOST),
        ("127.0.0.1:10001", LOCALHOST),
        ("", LOCALHOST),
    ],
)
def test_the_resource_is_the_one_that_the_client_connected_to_if_it_is_configured(authority, expected):
    resource = _resource(LOCALHOST, aliases=[LOOPBACK])
    document = json.loads(resource.metadata_for("GET", f"{METADATA}/mcp", authority).body)
    assert document["resource"] == expected
    assert document["authorization_servers"] == ["https://idp.example"]
    origin = expected.removesuffix("/mcp")
    assert resource.challenge(Reason.TOKEN_MISSING, authority=authority) == (
        f'Bearer resource_metadata="{origin}{METADATA}/mcp"'
    )


@each_case(
    ("alias", "authority"),
    [
        ("https://other.example/mcp", "other.example:443"),
        ("https://other.example:443/mcp", "other.example"),
        ("http://other.example/mcp", "other.example:80"),
        ("http://[::1]/mcp", "[::1]:80"),
        ("http://[::1]/mcp", "[::1]"),
        ("https://Other.Example/mcp", "other.example"),
    ],
)
def test_a_default_port_may_be_said_or_left_out(alias, authority):
    resource = _resource(aliases=[alias])
    assert json.loads(resource.metadata_for("GET", METADATA, authority).body)["resource"] == alias


@each_case(
    ("url", "path", "canonical"),
    [
        (URL, "/mcp/", "/mcp"),
        (URL, "/mcp/?a=/mcp/", "/mcp?a=/mcp/"),
        (URL, "/mcp", "/mcp"),
        (URL, "/mcp//", "/mcp//"),
        (URL, "/mcp/x/", "/mcp/x/"),
        (URL, "/other/", "/other/"),
        (f"{URL}/", "/mcp", "/mcp/"),
        (f"{URL}/", "/mcp/", "/mcp/"),
        ("https://gateway.example/", "/", "/"),
        ("https://gateway.example/", "", ""),
        ("https://gateway.example/", "/?a", "/?a"),
        ("https://gateway.example", "/", "/"),
    ],
)
def test_a_slash_at_the_end_of_the_resources_path_makes_no_other_path(url, path, canonical):
    assert _resource(url).canonical(path) == canonical


def test_another_port_is_another_host():
    resource = _resource(aliases=["https://other.example:80/mcp"])
    assert json.loads(resource.metadata_for("GET", METADATA, "other.example").body)["resource"] == URL


def test_the_metadata_of_the_resource_has_its_well_known_url():
    resource = ProtectedResource(url="https://mcp.example/mcp", authorization_servers=["https://idp.example"])
    assert resource.metadata_url == "https://mcp.example/.well-known/oauth-protected-resource/mcp"
