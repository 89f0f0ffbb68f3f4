"""Envoy's jwt_authn as the verifier: its word and our checks together decide; nothing else changes."""

import subprocess
from pathlib import Path

import pytest
import yaml

from extproc.demo.stack import find_program
from support.http import client
from support.stacks import Stack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def envoys_stack(tmp_path_factory):
    def verified_by_envoy(text):
        settings = yaml.safe_load(text)
        (issuer,) = settings["issuers"]
        issuer["verified_by"] = "envoy"
        issuer["jwks_uri"] = f"{issuer['issuer']}/jwks.json"
        return yaml.safe_dump(settings)

    with Stack(tmp_path_factory.mktemp("envoys"), adjust=verified_by_envoy) as stack:
        yield stack


async def _post(stack, token, path="/echo", **headers):
    async with client(token=token) as http:
        return await http.post(f"http://{stack.addresses.envoy}{path}", content=b"{}", headers=headers)


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
async def test_a_token_that_envoy_verified_is_signed_for(envoys_stack, alg):
    token = envoys_stack.token("demo-admin", alg=alg)
    for _ in range(3):  # the first opens the session
        assert (await _post(envoys_stack, token)).status_code == 200
    stats = envoys_stack.control("mcp", "stats")
    assert stats["received"] == stats["verified"]
    assert stats["bearer_seen"] == 0


async def test_what_envoy_did_not_verify_gets_our_challenge_and_goes_nowhere(envoys_stack):
    before = envoys_stack.control("mcp", "stats")["received"]
    token = envoys_stack.token("demo-admin")
    head, payload, signature = token.split(".")
    other = envoys_stack.token("demo-developer").split(".")[1]
    refused = [
        f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        f"{head}.{other}.{signature}",
        envoys_stack.token("demo-admin", lifetime="-300"),
        envoys_stack.token("demo-admin", audience="https://other.example"),
    ]
    for forged in refused:
        answer = await _post(envoys_stack, forged)
        assert answer.status_code == 401
        assert "resource_metadata=" in answer.headers["www-authenticate"]
    answer = await _post(envoys_stack, None)
    assert answer.status_code == 401
    assert "error=" not in answer.headers["www-authenticate"]
    assert envoys_stack.control("mcp", "stats")["received"] == before


async def test_a_good_token_elsewhere_in_the_request_does_not_vouch_for_a_forged_one(envoys_stack):
    good = envoys_stack.token("demo-admin")
    forged = ".".join([*good.split(".")[:2], "AAAA"])
    answer = await _post(envoys_stack, forged, f"/echo?access_token={good}")
    assert answer.status_code == 400
    assert (await _post(envoys_stack, None, f"/echo?access_token={good}")).status_code == 400
    assert (await _post(envoys_stack, forged, "/echo")).status_code == 401


async def test_the_metadata_document_needs_no_token(envoys_stack):
    async with client() as http:
        url = f"http://{envoys_stack.addresses.envoy}/.well-known/oauth-protected-resource"
        document = await http.get(url, headers={"origin": "https://anywhere.example"})
        head = await http.head(url)
        preflight = await http.options(
            url, headers={"origin": "https://x.example", "access-control-request-method": "GET"}
        )
    assert document.json()["resource"] == envoys_stack.addresses.resource
    assert document.headers["access-control-allow-origin"] == "*"
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == document.headers["content-length"]
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"


def test_the_real_envoy_accepts_the_example():
    example = ROOT / "envoy" / "jwt-authn" / "envoy.yaml"
    command = [find_program("envoy"), "--mode", "validate", "-c", str(example), "--log-level", "error"]
    subprocess.run(command, check=True, timeout=60)
