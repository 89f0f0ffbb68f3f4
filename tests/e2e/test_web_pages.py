"""Origins, scopes and a token of its own for STS, seen through the real Envoy."""

import pytest
import yaml

from support.http import client
from support.stacks import Stack

APP = "https://app.example"


@pytest.fixture(scope="module")
def strict_stack(tmp_path_factory):
    def strict(text):
        settings = yaml.safe_load(text)
        settings["allowed_origins"] = [APP]
        settings["issuers"][0].update(required_scopes=["mcp", "aws"], sts_token_header="x-id-token")
        return yaml.safe_dump(settings)

    with Stack(tmp_path_factory.mktemp("strict"), adjust=strict) as stack:
        yield stack


async def _send(stack, method="POST", token=None, **headers):
    async with client(token=token) as http:
        url = f"http://{stack.addresses.envoy}/echo"
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return await http.request(method, url, content=b"{}" if method == "POST" else None, headers=headers)


async def test_a_foreign_page_gets_403_before_its_token_counts(strict_stack):
    for token in (None, strict_stack.token("demo-admin", scope="mcp aws")):
        answer = await _send(strict_stack, token=token, origin="https://evil.example")
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


async def test_a_preflight_of_an_allowed_page_is_answered(strict_stack):
    answer = await _send(
        strict_stack,
        "OPTIONS",
        origin=APP,
        access_control_request_method="POST",
        access_control_request_headers="authorization,mcp-param-x",
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == APP
    assert "mcp-param-x" in answer.headers["access-control-allow-headers"]
    assert "x-id-token" in answer.headers["access-control-allow-headers"]


async def test_an_allowed_page_can_read_its_denial(strict_stack):
    answer = await _send(strict_stack, origin=APP)
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == APP
    assert "www-authenticate" in answer.headers["access-control-expose-headers"]
    assert 'scope="mcp aws"' in answer.headers["www-authenticate"]


async def test_a_missing_scope_is_a_403_that_names_all_of_them(strict_stack):
    answer = await _send(strict_stack, token=strict_stack.token("demo-admin", scope="mcp"))
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    challenge = answer.headers["www-authenticate"]
    assert 'scope="mcp aws"' in challenge
    assert 'error="insufficient_scope"' in challenge


async def test_the_other_token_goes_to_sts_and_never_upstream(strict_stack):
    bearer = strict_stack.token("demo-admin", scope="mcp aws")
    assert (await _send(strict_stack, token=bearer)).status_code == 401
    theirs = strict_stack.token("demo-developer")
    assert (await _send(strict_stack, token=bearer, x_id_token=theirs)).status_code == 401
    answer = await _send(strict_stack, token=bearer, x_id_token=strict_stack.token("demo-admin"))
    assert answer.status_code == 200
    assert "x-id-token" not in answer.text.lower()
    # The session belongs to both: with another token there is none.
    assert (await _send(strict_stack, token=bearer, x_id_token=theirs)).status_code == 401
