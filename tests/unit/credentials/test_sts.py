"""Where STS is comes from our configuration alone."""

import pytest

from extproc.credentials.sts import StsClient


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
        assert client._client.meta.endpoint_url == "https://sts.us-east-1.amazonaws.com"
    finally:
        client.close()
