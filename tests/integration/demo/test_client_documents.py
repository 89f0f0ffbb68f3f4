"""A client's document over real HTTPS, from the address that was checked and under the name that was asked for."""

import pytest

from extproc.demo.idp_documents import ClientDocuments
from extproc.demo.idp_errors import OAuthError
from support.client_documents import serving_documents


@pytest.fixture
def server(tmp_path, monkeypatch):
    with serving_documents(tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", server.authority)
        yield server


async def test_a_provider_on_this_machine_fetches_from_this_machine(server):
    document = await ClientDocuments(allow_loopback=True).fetch(server.url())
    assert document["client_id"] == server.url()
    assert server.hosts == [f"localhost:{server.server_port}"]


async def test_the_certificate_must_be_for_the_name(server):
    with pytest.raises(OAuthError, match="cannot be fetched"):
        await ClientDocuments(allow_loopback=True).fetch(server.url("127.0.0.1"))
    assert server.hosts == []


async def test_an_authority_that_is_not_trusted_is_refused(server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(OAuthError, match="cannot be fetched"):
        await ClientDocuments(allow_loopback=True).fetch(server.url())
    assert server.hosts == []


async def test_a_provider_elsewhere_does_not_even_connect(server):
    for host in ("localhost", "127.0.0.1"):
        with pytest.raises(OAuthError, match="not a public one"):
            await ClientDocuments(allow_loopback=False).fetch(server.url(host))
    assert server.hosts == []


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "10.0.0.1:8443", "[fe80::1]"]
)
async def test_private_networks_are_never_asked(host):
    with pytest.raises(OAuthError, match="not a public one"):
        await ClientDocuments(allow_loopback=True).fetch(f"https://{host}/x")


async def test_an_unknown_host_is_refused():
    with pytest.raises(OAuthError, match="cannot be fetched"):
        await ClientDocuments(allow_loopback=True).fetch(f"https://{'x' * 64}.invalid/x")
