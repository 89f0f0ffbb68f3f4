"""``extproc doctor`` against a stack that is broken in one way after another."""

import contextlib
import datetime as dt
import ipaddress
import json
import re
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509

from extproc.cli import main
from extproc.commands import doctor
from extproc.demo.settings import ADMIN_ROLE
from support.certificates import Authority
from support.envoys import further_envoy
from support.served import served
from support.stacks import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("doctor")) as stack:
        yield stack


@pytest.fixture(autouse=True)
def no_faults(request):
    yield
    request.getfixturevalue("stack").control("sts", "faults", {"mode": None})


def examined(stack, tmp_path, *, change=lambda _settings: None, token=None, arguments=()):
    """Run the doctor with the stack's configuration after a change; return exit status and findings."""
    settings = yaml.safe_load((stack.directory / "extproc.yaml").read_text())
    change(settings)
    (tmp_path / "extproc.yaml").write_text(yaml.safe_dump(settings))
    given = ["doctor", "--config", str(tmp_path / "extproc.yaml"), "--json", *arguments]
    if token is not None:
        (tmp_path / "token").write_text(token)
        given += ["--token", str(tmp_path / "token")]
    result = CliRunner().invoke(main, given)
    assert token is None or token not in result.output
    assert "eyJ" not in result.output  # how each part of a token begins
    return result.exit_code, json.loads(result.stdout)["checks"]


def first_failure(findings):
    return next(finding for finding in findings if finding["result"] == "fail")


def setting(path, value):
    """A change that sets one value: ("issuers", 0, "issuer")."""

    def change(settings):
        for key in path[:-1]:
            settings = settings[key] if isinstance(key, int) else settings.setdefault(key, {})
        settings[path[-1]] = value

    return change


def test_every_check_passes_with_a_stack_that_works(stack, tmp_path):
    token = stack.token("demo-admin")
    arguments = ("--envoy", stack.addresses.envoy_admin)
    status, findings = examined(stack, tmp_path, token=token, arguments=arguments)
    assert status == 0
    results = {finding["check"]: finding["result"] for finding in findings}
    assert list(results) == [
        "configuration", "names", "connections", "tls", "metadata", "envoy", "listener", "health", "discovery",
        "keys", "sts", "clocks", "token", "decision", "exchange", "identity", "call",
    ]  # fmt: skip
    assert {name for name, result in results.items() if result != "pass"} <= {"tls", "identity"}
    assert not [finding for finding in findings if finding["result"] in ("warn", "fail")]


def test_without_a_token_and_envoy_their_checks_are_skipped_with_the_option_to_give(stack, tmp_path):
    status, findings = examined(stack, tmp_path)
    assert status == 0
    skipped = {
        finding["check"]: finding["next_step"] for finding in findings if finding["result"] == "skipped"
    }
    assert skipped.keys() >= {"envoy", "token", "decision", "exchange", "identity", "call"}
    assert "--envoy" in skipped["envoy"]
    assert "--token" in skipped["token"]


# name: the change, the check that fails first, its detail, its next step
SETTINGS = {
    "a name": (
        setting(("issuers", 0, "issuer"), "http://idp.invalid"),
        "names", "cannot resolve idp.invalid", r"host in issuers\[0\]",
    ),
    "the name of STS": (
        setting(("sts",), {"endpoint_url": "http://sts.invalid", "insecure_plaintext": True}),
        "names", "cannot resolve sts.invalid", "host in sts",
    ),
    "a port": (
        setting(("issuers", 0, "issuer"), "http://127.0.0.1:1"),
        "connections", "127.0.0.1:1 refuses connections", r"port in issuers\[0\]",
    ),
    "the target's port": (
        setting(("targets", 0, "endpoint_url"), "http://127.0.0.1:1"),
        "connections", "127.0.0.1:1 refuses connections", r"port in targets\[0\]",
    ),
    "TLS to clear text": (
        lambda settings: setting(("sts", "endpoint_url"), settings["sts"]["endpoint_url"].replace("http", "https"))(settings),
        "tls", "answers in clear text, and the URL says https", "port that has TLS",
    ),
    "a slash": (
        lambda settings: setting(("issuers", 0, "issuer"), settings["issuers"][0]["issuer"] + "/")(settings),
        "discovery", r"another one, 'http://127.0.0.1:(\d+)' and not 'http://127.0.0.1:\1/'", "with or without a slash",
    ),
    "no provider": (
        lambda settings: setting(("issuers", 0, "issuer"), settings["targets"][0]["endpoint_url"])(settings),
        "discovery", "openid-configuration: HTTP status 401", "set jwks_uri",
    ),
    "another algorithm": (
        setting(("issuers", 0, "algorithms"), ["RS512"]),
        "keys", "the keys are for ES256, RS256, and algorithms accepts RS512", "`algorithms` of this issuer",
    ),
    "no key set": (
        lambda settings: setting(
            ("issuers", 0, "jwks_uri"), settings["issuers"][0]["issuer"] + "/.well-known/openid-configuration"
        )(settings),
        "keys", "openid-configuration: JWK Set: 'keys' must be a list", "must be a JWK Set",
    ),
    "no file of keys": (
        setting(("issuers", 0, "jwks_file"), "/nowhere/jwks.json"),
        "keys", "/nowhere/jwks.json: No such file", "",
    ),
    "no listener": (
        setting(("listen", "grpc"), "127.0.0.1:1"),
        "listener", "nothing answers at 127.0.0.1:1: Connection refused", "extproc serve",
    ),
    "no socket": (
        setting(("listen", "grpc"), "unix:/nowhere/extproc.sock"),
        "listener", "nothing answers at unix:/nowhere/extproc.sock: No such file", "extproc serve",
    ),
    "another listener": (
        lambda settings: setting(("listen", "grpc"), settings["listen"]["admin"])(
            settings | {"listen": settings["listen"].update(admin=None) or settings["listen"]}
        ),
        "health", "no answer: ", "another program has this port",
    ),
    "no STS": (
        lambda settings: setting(("sts", "endpoint_url"), settings["issuers"][0]["issuer"])(settings),
        "sts", "unusable answer", "sts.endpoint_url or sts.region",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_setting_fails_the_first_check_that_meets_it(stack, tmp_path, name):
    change, check, detail, next_step = SETTINGS[name]
    status, findings = examined(stack, tmp_path, change=change)
    assert status == 1
    found = first_failure(findings)
    assert found["check"] == check
    assert re.search(detail, found["detail"])
    assert re.search(next_step, found["next_step"])


def test_later_checks_of_a_broken_endpoint_name_the_first_one(stack, tmp_path):
    _, findings = examined(stack, tmp_path, change=SETTINGS["a name"][0])
    later = {finding["check"]: finding for finding in findings if "idp.invalid" in finding["subject"]}
    assert later.pop("names")["result"] == "fail"
    assert later.keys() == {"connections", "tls", "discovery", "keys"}
    assert {finding["detail"] for finding in later.values()} == {"see names"}


@pytest.fixture
def tls_server(tmp_path):
    """Start a server with TLS whose certificate is for 127.0.0.1; returns its port and the CA's file."""
    authority = Authority(tmp_path)
    with contextlib.ExitStack() as cleanup:

        def started(name="127.0.0.1", ends_in=dt.timedelta(days=1)):
            address = x509.IPAddress(ipaddress.ip_address(name))
            pair = authority.issue("server", address, ends_in=ends_in)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            cleanup.enter_context(served(server))
            return server.server_address[1], authority.certificate

        yield started


def of_sts(findings):
    return next(
        finding for finding in findings if finding["check"] == "tls" and finding["subject"].startswith("sts")
    )


def test_clear_text_to_a_port_with_tls_is_found(stack, tmp_path, tls_server):
    port, _ = tls_server()
    change = setting(("sts", "endpoint_url"), f"http://127.0.0.1:{port}")
    found = of_sts(examined(stack, tmp_path, change=change)[1])
    assert (found["result"], found["detail"]) == ("fail", "the server expects TLS, and the URL says http")
    assert "https:// in sts" in found["next_step"]


@pytest.fixture
def examined_sts(stack, tmp_path, tls_server, monkeypatch):
    def examine(name, *, trusted):
        port, authority = tls_server(name)
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        change = setting(("sts", "endpoint_url"), f"https://127.0.0.1:{port}")
        return of_sts(examined(stack, tmp_path, change=change)[1])

    return examine


@pytest.mark.parametrize(
    ("name", "trusted", "expected"),
    [
        ("127.0.0.1", False, "fail: the certificate is not valid for 127.0.0.1: unable to get local issuer"),
        ("127.0.0.2", True, "fail: the certificate is not valid for 127.0.0.1: IP address mismatch"),
        ("127.0.0.1", True, "warn: the certificate of 127.0.0.1 expires in 1 days"),
    ],
)
def test_a_certificate_is_verified(examined_sts, name, trusted, expected):
    found = examined_sts(name, trusted=trusted)
    assert f"{found['result']}: {found['detail']}".startswith(expected)


def test_an_expired_token_fails_with_its_time(stack, tmp_path):
    _, findings = examined(stack, tmp_path, token=stack.token("demo-admin", lifetime="-300"))
    found = first_failure(findings)
    assert found["check"] == "token"
    assert re.search(r"step 6 \(times\): token_expired: expired 30\d s ago, at 20\d\d-", found["detail"])
    assert "get a new token" in found["next_step"]


def test_a_token_for_another_audience_is_compared_with_the_expected_ones(stack, tmp_path):
    change = setting(("issuers", 0, "audiences"), ["https://mcp.example.com/mcp"])
    _, findings = examined(stack, tmp_path, change=change, token=stack.token("demo-admin"))
    found = first_failure(findings)
    assert found["check"] == "token"
    assert f"the token has '{stack.addresses.resource}'" in found["detail"]
    assert "audiences are ['https://mcp.example.com/mcp']" in found["detail"]


def test_a_token_of_another_issuer_is_compared_with_the_configured_ones(stack, tmp_path):
    other = stack.addresses.issuer.replace("127.0.0.1", "localhost")
    change = setting(("issuers", 0, "issuer"), other)
    _, findings = examined(stack, tmp_path, change=change, token=stack.token("demo-admin"))
    found = next(finding for finding in findings if finding["check"] == "token")
    assert f"the token has '{stack.addresses.issuer}', issuers are ['{other}']" in found["detail"]


def test_a_changed_token_fails_at_its_signature(stack, tmp_path):
    head, claims, signature = stack.token("demo-admin").split(".")
    changed = f"{head}.{claims}.{'A' * 20}{signature[20:]}"
    _, findings = examined(stack, tmp_path, token=changed)
    assert "step 5 (signature): signature_invalid" in first_failure(findings)["detail"]


def test_a_token_that_is_none_fails_at_its_form(stack, tmp_path):
    _, findings = examined(stack, tmp_path, token="opaque.x")
    assert "step 1 (format): token_malformed" in first_failure(findings)["detail"]
    assert "opaque" in first_failure(findings)["next_step"]


def test_a_user_without_a_role_gets_the_rules_and_the_names_of_the_claims(stack, tmp_path):
    _, findings = examined(stack, tmp_path, token=stack.token("demo-guest"))
    found = first_failure(findings)
    assert found["check"] == "decision"
    assert found["detail"].startswith("no_role")
    assert "the token has the claims aud, " in found["detail"]
    assert "admins: " in found["detail"]
    assert "demo-guest" not in found["detail"]


def test_a_role_that_does_not_trust_the_token_is_named_with_what_to_allow(stack, tmp_path):
    unknown = ADMIN_ROLE.replace("DemoAdmin", "Nobody")
    change = setting(("role_mappings", 0, "role_arn"), unknown)
    _, findings = examined(stack, tmp_path, change=change, token=stack.token("demo-admin"))
    found = first_failure(findings)
    assert (found["check"], found["subject"]) == ("exchange", unknown)
    assert "403 AccessDenied" in found["detail"]
    assert "trust policy" in found["next_step"]
    assert stack.addresses.issuer.partition("://")[2] in found["next_step"]


FAULTS = {
    "html200": ("sts", "unusable answer", "does not answer as STS does"),
    "region_disabled": ("sts", "403 RegionDisabledException", "enable STS in this region"),
    "idp_unreachable": ("exchange", "IDPCommunicationError", "make the issuer's metadata and keys public"),
    "malformed_policy": ("exchange", "MalformedPolicyDocument", "correct IAM"),
}


@pytest.mark.parametrize("mode", FAULTS)
def test_a_fault_of_sts_is_told_with_its_code(stack, tmp_path, mode):
    check, detail, next_step = FAULTS[mode]
    stack.control("sts", "faults", {"mode": mode})
    _, findings = examined(stack, tmp_path, token=stack.token("demo-admin"))
    found = first_failure(findings)
    assert found["check"] == check
    assert detail in found["detail"]
    assert next_step in found["next_step"]


@pytest.mark.parametrize(
    ("change", "next_step"),
    [
        ({"service": "other"}, "correct the target's service"),
        ({"region": "eu-west-1"}, "correct the target's region"),
    ],
)
def test_a_wrong_scope_of_the_target_is_found_by_the_signed_call(stack, tmp_path, change, next_step):
    def changed(settings):
        settings["targets"][0].update(change)

    _, findings = examined(stack, tmp_path, change=changed, token=stack.token("demo-admin"))
    found = first_failure(findings)
    assert found["check"] == "call"
    assert next_step in found["next_step"]
    assert set(change.values()) & set(found["detail"].split())


@pytest.mark.parametrize(("seconds", "result"), [(20, "warn"), (-20, "warn"), (600, "fail"), (-7200, "fail")])
def test_a_wrong_clock_is_found_by_the_dates_of_others(stack, tmp_path, monkeypatch, seconds, result):
    monkeypatch.setattr(doctor, "system_clock", lambda: time.time() + seconds)
    _, findings = examined(stack, tmp_path)
    clocks = [finding for finding in findings if finding["check"] == "clocks"]
    assert {finding["result"] for finding in clocks} == {result}
    assert len(clocks) == 2
    assert ("ahead" if seconds > 0 else "behind") in clocks[0]["detail"]


def test_a_web_page_in_place_of_keys_is_named_with_its_address(stack, tmp_path):
    page = f"http://{stack.addresses.envoy_admin}/"
    _, findings = examined(stack, tmp_path, change=setting(("issuers", 0, "jwks_uri"), page))
    found = first_failure(findings)
    assert (found["check"], found["detail"]) == ("keys", f"{page}: a web page (HTML) in place of keys")


def test_envoys_effective_configuration_is_compared(stack, tmp_path):
    with further_envoy(
        stack, tmp_path, lambda text: text.replace("message_timeout:", "message_timeout: 0.1s #", 1)
    ):
        written = next(tmp_path.glob("envoy-*.yaml")).read_text()
        admin = yaml.safe_load(written)["admin"]["address"]["socket_address"]["port_value"]
        status, findings = examined(stack, tmp_path, arguments=("--envoy", f"127.0.0.1:{admin}"))
    assert status == 1
    found = first_failure(findings)
    assert found["check"] == "envoy"
    assert "message_timeout" in found["subject"]
    assert "extproc envoy --config" in found["next_step"]


def test_an_envoy_that_is_not_there_is_a_failure(stack, tmp_path):
    status, findings = examined(stack, tmp_path, arguments=("--envoy", "http://127.0.0.1:1/"))
    assert status == 1
    refused = "127.0.0.1:1/config_dump: nothing accepts connections at 127.0.0.1:1 (ConnectionRefusedError)"
    assert refused in first_failure(findings)["detail"]


def test_people_read_it_in_80_columns_and_without_a_token(stack, tmp_path):
    (tmp_path / "token").write_text(stack.token("demo-admin"))
    arguments = ["--config", str(stack.directory / "extproc.yaml"), "--token", str(tmp_path / "token")]
    result = CliRunner().invoke(main, ["doctor", *arguments])
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "pass     exchange: " + ADMIN_ROLE in result.stdout
    assert result.stdout.splitlines()[-1].endswith("skipped")
    assert "eyJ" not in result.output


def test_a_token_file_that_is_not_there_is_bad_input(stack, tmp_path):
    arguments = ["--config", str(stack.directory / "extproc.yaml"), "--token", str(tmp_path / "none")]
    result = CliRunner().invoke(main, ["doctor", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such file" in result.stderr


@pytest.mark.parametrize("path", ["", "/config_dump?include_eds"])
def test_the_check_reads_a_running_envoy_by_its_admin_address(stack, path):
    url = f"http://{stack.addresses.envoy_admin}{path}"
    result = CliRunner().invoke(
        main, ["envoy", "--config", str(stack.directory / "extproc.yaml"), "--check", url]
    )
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{url}: nothing found; checked:")


def test_an_envoy_that_does_not_answer_cannot_be_checked(stack):
    result = CliRunner().invoke(main, ["envoy", "--check", "http://127.0.0.1:1"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("http://127.0.0.1:1: ")
