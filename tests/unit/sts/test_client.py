"""The address of STS comes from the configuration alone."""

import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from extproc.sts import client as sts_client
from extproc.sts.botocore_data import StsData
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
    assert len(sts_client._tls("https://sts.example", None).get_ca_certs()) > 50


def test_sts_without_tls_reads_no_certificates():
    assert sts_client._tls("http://127.0.0.1:1", None).get_ca_certs() == []


def test_models_of_the_machine_do_not_change_the_calls(monkeypatch, tmp_path):
    model = tmp_path / "sts" / "2099-01-01" / "service-2.json"
    model.parent.mkdir(parents=True)
    model.write_text("{}")
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    client = StsClient(
        region="us-east-1", endpoint_url=None, timeout=1, connections=1, on_date=lambda _date: None
    )
    try:
        assert client._client.meta.service_model.api_version == "2011-06-15"
    finally:
        client.close()


def test_each_partition_has_the_endpoints_that_botocore_has_with_all_its_data():
    session = botocore.session.Session()
    endpoints = session.get_component("data_loader").load_data("endpoints")
    regions = {min(partition["regions"]) for partition in endpoints["partitions"] if partition["regions"]}
    assert len(regions) >= 5
    slim = botocore.session.Session()
    slim.register_component("data_loader", StsData())

    def endpoint(session, region):
        client = session.create_client("sts", region_name=region, config=Config(signature_version=UNSIGNED))
        try:
            return client.meta.endpoint_url, client.meta.region_name
        finally:
            client.close()

    for region in (*sorted(regions), "us-east-1", "xx-new-1"):
        assert endpoint(slim, region) == endpoint(session, region)
