"""Users' tokens are exchanged at the identity provider before STS, in the ways of four providers."""

import asyncio
import json
import re
import signal
import time

import pytest
import yaml
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from extproc.cli import main
from support.certificates import Authority
from support.http import client
from support.stacks import Stack

SHAPES = ("okta", "keycloak", "auth0", "entra-v2")
SECRET = "canary-secret-5b1d"
STATUS_OK = 200


class ExchangingStack(Stack):
    """A stack whose STS takes tokens for AWS or of the gateways, and none of the users'."""

    def _command(self, name):
        command = super()._command(name)
        if name == "extproc":
            return [*command, "--log-level", "debug"]
        if name != "sts":
            return command
        kept = [part for part in command if part not in ("--audience", *self.addresses.audiences)]
        ids = ["okta-aws", *(f"{shape}-gateway" for shape in SHAPES)]
        return [*kept, *(part for client_id in ids for part in ("--audience", client_id))]

    def extproc(self, *arguments):
        """Run a command with the server's configuration; return its status and what it printed."""
        result = CliRunner().invoke(main, [*arguments, "--config", str(self.directory / "extproc.yaml")])
        return result.exit_code, result.output

    def metrics(self):
        return self.http.request("GET", f"http://{self.addresses.extproc_admin}/metrics").data.decode()

    def configure(self, exchange):
        """Replace the issuer's exchange in the running server."""
        path = self.directory / "extproc.yaml"
        settings = yaml.safe_load(path.read_text())
        if settings["issuers"][0].get("token_exchange") == exchange:
            return
        settings["issuers"][0]["token_exchange"] = exchange
        before = _applied(self.metrics())
        path.write_text(yaml.safe_dump(settings))
        self.processes["extproc"].send_signal(signal.SIGHUP)
        until = time.monotonic() + 20
        while _applied(self.metrics()) == before:
            assert time.monotonic() < until, (self.directory / "extproc.log").read_text()[-2000:]
            time.sleep(0.05)


def _applied(metrics):
    return re.search(r'extproc_config_reloads_total\{outcome="applied"\} (\S+)', metrics)[1]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    directory = tmp_path_factory.mktemp("exchanging")
    address = f"listen:\n  admin_grpc: unix:{directory}/admin.sock\n"
    with ExchangingStack(directory, adjust=lambda text: text.replace("listen:\n", address, 1)) as stack:
        yield stack


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The gateway's secret, and its key with a certificate."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "secret").write_text(f"{SECRET}\n")
    pair = Authority(folder).issue("gateway")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None).public_key()
    public = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"secret": folder / "secret", "pair": pair, "public": public.decode()}


def _ways(files):
    secret = {"client_secret_file": str(files["secret"])}
    key = {"private_key_file": str(files["pair"].key)}
    exchange = {"grant": "token-exchange"}
    azp = {"token_required_claims": {"azp": ["keycloak-gateway", "auth0-gateway", "entra-v2-gateway"]}}
    return {
        "okta": {**exchange, **secret, "audience": "okta-aws", "scope": ["aws"]},
        "keycloak": {**exchange, **secret, **azp, "client_authentication": "client_secret_post", "audience": "keycloak-aws"},
        "auth0": {**exchange, **key, **azp, "key_id": "k1", "audience": "auth0-aws"},
        "entra-v2": {**key, **azp, "grant": "jwt-bearer", "certificate_file": str(files["pair"].certificate),
                     "scope": "entra-v2-aws/.default", "subject_claim": "oid"},
    }  # fmt: skip


def _use(stack, files, shape):
    way = _ways(files)[shape]
    proof = {"secret": SECRET} if "client_secret_file" in way else {"public_key": files["public"]}
    gateway = {"client_id": f"{shape}-gateway", "audience": f"{shape}-aws", "shape": shape, **proof}
    stack.control("idp", "gateways", gateway)
    stack.configure({**way, "client_id": f"{shape}-gateway", "token_audiences": [f"{shape}-aws"]})


def _exchanges(stack):
    return stack.control("idp", "stats")["hits"].get("exchange", 0)


async def _post(stack, token):
    async with client(token=token) as http:
        return await http.post(f"http://{stack.addresses.envoy}/echo", content=b"{}")


async def test_without_an_exchange_the_denial_names_the_next_step(stack):
    answer = await _post(stack, stack.token("demo-azp"))
    assert answer.status_code == 500
    assert "AWS is not set up" in answer.text
    assert "add the token's azp, or its aud if it has none" in (stack.directory / "extproc.log").read_text()


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_token_is_exchanged_as_the_provider_wants_it_and_signs_a_request(stack, files, shape):
    await asyncio.to_thread(_use, stack, files, shape)
    token = await asyncio.to_thread(stack.token, "demo-azp", user=f"user-of-{shape}")
    before, calls = _exchanges(stack), stack.control("sts", "stats")["calls"]
    answers = await asyncio.gather(*(_post(stack, token) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {STATUS_OK}, answers[0].text
    assert _exchanges(stack) == before + 1
    assert stack.control("sts", "stats")["calls"] == calls + 1


async def test_while_the_provider_is_down_or_wants_the_user_living_sessions_work_and_others_do_not(
    stack, files
):
    await asyncio.to_thread(_use, stack, files, "okta")
    living, other = stack.token("demo-admin"), stack.token("demo-developer")
    assert (await _post(stack, living)).status_code == STATUS_OK
    stack.control("idp", "faults", {"exchange": "error"})
    refused = await _post(stack, other)
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert "temporarily_unavailable" in refused.text
    assert (await _post(stack, living)).status_code == STATUS_OK
    stack.control("idp", "faults", {"exchange": "consent_required"})
    refused = await _post(stack, stack.token("demo-developer"))
    assert refused.status_code == 401
    challenge = refused.headers["www-authenticate"]
    assert "resource_metadata=" in challenge
    assert 'error_description="The identity provider requires your consent."' in challenge
    stack.control("idp", "faults", {"exchange": None})
    assert (await _post(stack, other)).status_code == STATUS_OK


async def test_another_secret_is_the_gateways_fault_and_a_new_file_ends_it(stack, files):
    await asyncio.to_thread(_use, stack, files, "okta")
    files["secret"].write_text("canary-other-5b1d")
    refused = await _post(stack, stack.token("demo-admin"))
    assert refused.status_code == 500
    assert "cannot exchange tokens" in refused.text
    files["secret"].write_text(SECRET)
    assert (await _post(stack, stack.token("demo-admin"))).status_code == STATUS_OK
    assert "invalid_client; compare client_id" in (stack.directory / "extproc.log").read_text()


def test_the_doctor_exchanges_a_token_or_asks_with_one_that_is_none(stack, files, tmp_path):
    _use(stack, files, "entra-v2")
    (tmp_path / "token").write_text(stack.token("demo-azp"))
    status, output = stack.extproc("doctor", "--json", "--token", str(tmp_path / "token"))
    found = {each["check"]: each for each in json.loads(output)["checks"]}
    assert found["token_exchange"]["detail"].startswith("the provider gave a token for AWS, valid for ")
    assert (status, found["exchange"]["result"]) == (0, "pass")
    _, output = stack.extproc("doctor", "--json")
    found = {each["check"]: each for each in json.loads(output)["checks"]}
    assert found["token_exchange"]["detail"] == "the provider accepts this client"
    status, output = stack.extproc("explain", "--token", str(tmp_path / "token"))
    assert status == 0
    assert "in exchange for this one (jwt-bearer)" in " ".join(output.split())


def test_a_file_that_cannot_be_used_is_named_by_check_doctor_serve_and_reload(stack, files):
    _use(stack, files, "okta")
    files["secret"].write_text("")
    try:
        problem = f"issuers[0].token_exchange.client_secret_file: {files['secret']}: empty"
        assert stack.extproc("check") == (2, f"{problem}\n")
        assert stack.extproc("serve") == (2, f"{problem}\n")
        _, output = stack.extproc("doctor", "--json")
        findings = json.loads(output)["checks"]
        assert problem in [each["detail"] for each in findings if each["check"] == "token_exchange"]
    finally:
        files["secret"].write_text(SECRET)
    assert stack.extproc("check")[0] == 0


async def test_no_secret_and_no_token_is_written_down(stack, files):
    written = stack.metrics()
    for command in ("sessions", "status"):
        status, output = stack.extproc("admin", command, "--json")
        assert status == 0
        written += output
    assert "demo-admin" in written
    assert stack.stop_part("extproc") == 0
    for name in ("extproc.log", "audit.log", "envoy.log"):
        written += (stack.directory / name).read_text()
    assert "token_exchange_misconfigured" in written
    assert "canary" not in written
    assert "eyJ" not in written  # no JWT
    key = files["pair"].key.read_text().splitlines()[1]
    assert key not in written
