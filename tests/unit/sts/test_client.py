"""The address of STS comes from the configuration alone."""

import ssl
from unittest.mock import Mock, patch

import pytest

from extproc.sts import client as sts_client
from extproc.sts.client import StsClient


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_USE_DUALSTACK_ENDPOINT", "true"),
        ("AWS_USE_FIPS_ENDPOINT", "true"),
        ("AWS_ENDPOINT_URL", "https://elsewhere.example"),
        ("AWS_ENDPOINT_URL_STS", "https://elsewhere.example"),
        ("AWS_STS_REGIONAL_ENDPOINTS", "legacy"),
    ],
)
def test_the_environment_does_not_move_the_endpoint(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    client = StsClient(
        region="us-east-1", endpoint_url=None, timeout=1, connections=1, on_date=lambda _date: None
    )
    try:
        assert client.endpoint_url == "https://sts.us-east-1.amazonaws.com"
    finally:
        client.close()


def test_a_machine_without_certificates_of_its_own_takes_those_that_come_with_botocore(monkeypatch, tmp_path):
    (tmp_path / "none.pem").write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    for name in ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    assert len(sts_client._tls("https://sts.example", None)().get_ca_certs()) > 50


def test_certificates_of_the_machine_are_read_with_the_first_call():
    read = Mock(wraps=ssl.create_default_context)
    with patch.object(ssl, "create_default_context", read):
        make_tls = sts_client._tls("https://sts.example", None)
        assert not read.called
        make_tls()
        assert read.called


def test_a_file_of_certificates_that_cannot_be_read_ends_the_start_where_it_is_needed(tmp_path):
    missing = str(tmp_path / "none.pem")
    with pytest.raises(FileNotFoundError):
        sts_client._tls("https://sts.example", missing)
    sts_client._tls("http://127.0.0.1:1", missing)
