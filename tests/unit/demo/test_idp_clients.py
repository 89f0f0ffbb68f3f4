"""Clients of the demo's provider, and their redirect addresses."""

import pytest

from extproc.demo.idp_clients import PREREGISTERED, Client, Clients
from extproc.demo.idp_errors import OAuthError
from support.tables import each_case

ID = "https://client.example/oauth/metadata.json"
DOCUMENT = {"client_id": ID, "client_name": "Editor", "redirect_uris": ["http://127.0.0.1/callback"]}


class Documents:
    def __init__(self, **changes):
        self.document = {**DOCUMENT, **changes}

    async def fetch(self, client_id):
        assert client_id == ID
        return self.document


@each_case(
    ("registered", "wanted", "allowed"),
    [
        ("http://127.0.0.1/callback", "http://127.0.0.1:54321/callback", True),
        ("http://localhost:1/callback", "http://localhost:2/callback", True),
        ("http://[::1]/callback", "http://[::1]:2/callback", True),
        ("http://localhost/callback", "http://127.0.0.1:2/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:2/other", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:2/callback?x=1", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:2/callback#x", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:port/callback", False),
        ("http://127.0.0.1/callback", "http://user@127.0.0.1:2/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1.evil.example/callback", False),
        ("http://127.0.0.1/callback", "https://127.0.0.1/callback", False),
        ("https://a.example/callback", "https://a.example/callback", True),
        ("https://a.example/callback", "https://a.example:8443/callback", False),
        ("https://a.example/callback", "https://A.example/callback", False),
        ("cursor://anysphere.cursor-mcp/oauth", "cursor://anysphere.cursor-mcp/oauth", True),
        ("cursor://anysphere.cursor-mcp/oauth", "cursor://other/oauth", False),
        ("http://127.0.0.1/callback", "", False),
    ],
)
def test_redirect_addresses_are_compared_exactly_but_for_a_loopback_port(registered, wanted, allowed):
    client = Client(client_id="c", redirect_uris=(registered,), name="c")
    assert client.may_return_to(wanted) is allowed


async def test_the_client_known_beforehand_returns_to_any_program_of_this_machine_and_to_editors():
    client = await Clients(None).find("demo-client")
    assert client is PREREGISTERED
    assert client.refreshes
    for uri in ("http://localhost:3118/x", "http://127.0.0.1:1/", "https://vscode.dev/redirect"):
        assert client.may_return_to(uri)
    for uri in ("http://evil.example/", "https://localhost/", "http://localhost:1/#x", "javascript:alert(1)"):
        assert not client.may_return_to(uri)


async def test_a_url_is_a_client_described_by_its_document():
    client = await Clients(Documents(grant_types=["authorization_code", "refresh_token"])).find(ID)
    assert (client.client_id, client.name, client.host) == (ID, "Editor", "client.example")
    assert client.refreshes
    assert client.may_return_to("http://127.0.0.1:5/callback")


async def test_a_client_that_does_not_say_that_it_refreshes_gets_no_refresh_tokens():
    assert not (await Clients(Documents()).find(ID)).refreshes


@each_case(
    "changes",
    [
        {"redirect_uris": []},
        {"redirect_uris": None},
        {"redirect_uris": ["http://evil.example/"]},
        {"redirect_uris": ["file:///etc/passwd"]},
        {"redirect_uris": ["data:text/html,x"]},
        {"redirect_uris": ["https:///x"]},
        {"redirect_uris": ["https://user@a.example/x"]},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"grant_types": ["client_credentials"]},
        {"grant_types": "authorization_code"},
    ],
)
async def test_a_document_that_describes_no_public_client_is_refused(changes):
    with pytest.raises(OAuthError, match="invalid_client"):
        await Clients(Documents(**changes)).find(ID)


@each_case("client_id", ["", "demo-other", "http://client.example/x", "https://client.example/"])
async def test_other_ids_are_unknown(client_id):
    with pytest.raises(OAuthError, match="not registered"):
        await Clients(Documents()).find(client_id)


async def test_without_documents_a_url_is_an_unknown_id():
    with pytest.raises(OAuthError, match="not registered"):
        await Clients(None).find(ID)


async def test_a_registered_client_is_found_and_told_what_it_may_use():
    clients = Clients(None)
    answer = clients.register(
        {
            "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback", "com.example.app:/callback"],
            "grant_types": ["authorization_code", "refresh_token", "implicit"],
        }
    )
    assert answer["grant_types"] == ["authorization_code", "refresh_token"]
    assert (await clients.find(answer["client_id"])).redirect_uris == tuple(answer["redirect_uris"])
