"""Who may look, act and see claims: by rules for ID tokens, by lists for certificates."""

import pytest
from pydantic import ValidationError

from extproc import config
from extproc.config import Console
from extproc.console.access import Access
from support.admin import SETTINGS
from support.console import HOST, ISSUER, OIDC, Site
from support.pipelines import NOW
from support.tables import each_case

TLS = {"certificate": "c", "private_key": "k", "client_ca": "ca"}
CERTIFICATES = """
listen: {console: "0.0.0.0:9466", admin_grpc: "unix:/run/extproc/admin.sock"}
console:
  url: http://127.0.0.1:9466
  tls: {certificate: c, private_key: k, client_ca: ca, allowed_clients: ["spiffe://example.org/olga"]}
  act_clients: ["spiffe://example.org/sam"]
"""


def rights(access, **claims):
    user = access.of_claims(ISSUER, {"sub": "x", **claims})
    return user and (user.may_act, user.may_see_claims)


@each_case(
    ("groups", "expected"),
    [
        ([], None),
        (["admins"], None),
        (["operators"], (False, False)),
        (["operators", "admins"], (True, False)),
        (["operators", "auditors"], (False, True)),
        ("operators", None),
        (None, None),
        ({"operators": 1}, (False, False)),
        (["\u0000operators"], None),
    ],
)
def test_what_the_rules_do_not_clearly_allow_is_refused(groups, expected):
    access = Access(config.parse(SETTINGS + OIDC).console)
    assert rights(access, groups=groups) == expected


def test_a_missing_claim_is_a_no():
    access = Access(config.parse(SETTINGS + OIDC).console)
    assert rights(access) is None
    assert rights(access, groups=["operators"], big=2**70) is None


def test_without_rules_nobody_gets_in():
    assert rights(Access(Console()), groups=["operators"]) is None
    assert Access(Console()).of_certificate({"peer_dns": (b"a.example",)}) is None


def test_the_name_that_is_shown_is_one_that_people_know():
    access = Access(config.parse(SETTINGS + OIDC).console)
    claims = {"sub": "x", "groups": ["operators"], "email": "o@example.org"}
    assert access.of_claims(ISSUER, claims).name == "o@example.org"
    assert access.of_claims(ISSUER, {**claims, "preferred_username": "olga"}).name == "olga"
    assert access.of_claims(ISSUER, {**claims, "email": {"a": 1}}).name == "x"


def test_certificates_are_on_lists():
    access = Access(config.parse(SETTINGS + CERTIFICATES).console)
    olga = access.of_certificate({"peer_uri": (b"spiffe://example.org/olga",), "peer_dns": ()})
    sam = access.of_certificate({"peer_uri": (b"spiffe://example.org/sam",)})
    assert (olga.subject, olga.may_act) == ("spiffe://example.org/olga", False)
    assert (sam.subject, sam.may_act) == ("spiffe://example.org/sam", True)
    assert access.of_certificate({"peer_uri": (b"spiffe://example.org/olgas-evil-twin",)}) is None
    assert access.of_certificate({"peer_dns": (b"spiffe://example.org/olga",)}) is None


async def test_a_certificate_logs_in_by_itself_and_its_session_is_no_other_certificates(tmp_path):
    site = Site(tmp_path, settings=CERTIFICATES)
    olga = {"peer_uri": (b"spiffe://example.org/olga",), "peer_dns": ()}
    sam = {"peer_uri": (b"spiffe://example.org/sam",), "peer_dns": ()}
    eve = {"peer_uri": (b"spiffe://example.org/eve",), "peer_dns": ()}
    assert (await site.get("/", peer_names=eve)).status == 403
    assert (await site.get("/")).status == 403
    assert (await site.get("/", peer_names=sam)).status == 200
    sams = dict(site.cookies)
    assert "looks only" not in (await site.get("/", peer_names=sam, cookies=sams)).text
    # Olga has Sam's cookie, and not Sam's certificate.
    assert "looks only" in (await site.get("/", peer_names=olga, cookies=sams)).text
    assert (await site.get("/", peer_names=eve, cookies=sams)).status == 403
    assert (await site.get("/", cookies=sams)).status == 403


@each_case(
    "section",
    [
        {"oidc": {"client_id": "c"}},
        {"matcher": "true"},
        {"act_matcher": "true"},
        {"oidc": {"client_id": "c", "scopes": ["profile"]}, "matcher": "true"},
        {"tls": TLS},
        {"act_clients": ["a.example"]},
        {"oidc": {"client_id": "c"}, "matcher": "mcp.tool == 'x'"},
        {"oidc": {"client_id": "c"}, "matcher": "1 + 1"},
        {"url": "https://console.example/path"},
        {"url": "https://Console.example"},
        {"session_minutes": 0},
    ],
)
def test_a_console_that_lets_in_nobody_or_anybody_is_no_configuration(section):
    with pytest.raises(ValidationError):
        Console.model_validate(section)


@each_case(
    ("address", "section", "problem"),
    [
        ("127.0.0.1:1", {}, "no login"),
        ("127.0.0.1:1", {"socket_user": "olga"}, "only a unix: socket"),
        ("127.0.0.1:1", {"tls": {"certificate": "c", "private_key": "k"}}, "no login"),
        ("10.0.0.1:1", {"oidc": {"client_id": "c"}, "matcher": "true"}, "needs console.tls"),
        ("0.0.0.0:1", {"oidc": {"client_id": "c"}, "matcher": "true"}, "needs console.tls"),
        ("unix:/run/c.sock", {}, "socket_user"),
    ],
)
def test_an_address_that_does_not_fit_is_refused(address, section, problem):
    with pytest.raises(ValueError, match=problem):
        Console.model_validate(section).check_address(address)


@each_case(
    ("more", "problem"),
    [
        ('listen: {console: "127.0.0.1:1"}', "console needs admin_grpc"),
        ('listen: {console: "127.0.0.1:1", admin_grpc: "127.0.0.1:1"}', "address of its own"),
        (
            OIDC.replace("client_id: console", 'client_id: console, issuer: "https://other.example"'),
            "not one of",
        ),
        (OIDC.replace("in claims.groups", "in request.path"), "CEL"),
    ],
)
def test_the_console_fits_the_rest_of_the_configuration(more, problem):
    with pytest.raises(config.ConfigError, match=problem):
        config.parse(f"{SETTINGS}\n{more}")


async def test_no_cookie_of_a_client_becomes_a_session(tmp_path):
    site = Site(tmp_path)
    fixed = {site.web._cookie: "chosen-by-the-attacker"}
    await site.get("/", cookies=fixed)
    site.log_in("operators")
    assert site.cookies[site.web._cookie] != "chosen-by-the-attacker"
    assert (await site.get("/", cookies=fixed)).status == 303


async def test_the_oldest_sessions_make_room():
    from extproc.console.access import User  # noqa: PLC0415
    from extproc.console.sessions import BrowserSessions  # noqa: PLC0415

    sessions = BrowserSessions(clock=lambda: NOW, lifetime=60, idle=60, limit=2)
    user = User(ISSUER, "x", "x")
    first, second = sessions.begin(user)[0], sessions.begin(user)[0]
    assert sessions.find(first)
    third = sessions.begin(user)[0]
    assert [bool(sessions.find(each)) for each in (first, second, third)] == [True, False, True]
    assert all(HOST not in repr(each) for each in (first, second))
