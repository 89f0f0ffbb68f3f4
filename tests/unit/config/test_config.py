"""The configuration file: a file that loads is usable, and errors say where and why."""

import time

import pytest
import yaml
from click.testing import CliRunner

from extproc import config
from extproc.cli import main
from extproc.signing.sigv4 import Scope
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/Admin"
MINIMAL = f"""\
resource:
  url: https://mcp.example.com/mcp
issuers:
  - issuer: https://idp.example.com/
    audiences: [https://mcp.example.com/mcp]
targets:
  - name: aws-mcp
    host: aws-mcp.us-east-1.api.aws
role_mappings:
  - claim: admins
    role_arn: {ROLE}
"""
REMOVED = object()


def changed(path, value):
    """The minimal configuration with one value set or removed; ``path``: keys and positions."""
    document = yaml.safe_load(MINIMAL)
    *parents, last = path
    place = document
    for key in parents:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(document)


def problems(text):
    with pytest.raises(config.ConfigError) as error:
        config.parse(text)
    return error.value.problems


TLS = {"certificate": "/tls/tls.crt", "private_key": "/tls/tls.key"}
NO_ADMIN = (
    "admin_grpc is not a loopback address: it needs tls.client_ca and admin_clients, or better a Unix socket"
)
MTLS = {"certificate": "/tls.crt", "private_key": "/tls.key", "client_ca": "/ca.crt"}
NO_SOCKET = "must be HOST:PORT, or unix:/path with an absolute path of at most 107 characters"
NO_MODE = 'must be an octal string in quotes, like "0660"'
NO_CLIENT = (
    "must be a URI like spiffe://example.org/envoy, or a lower-case DNS name like envoy.example.org "
    "or *.envoy.example.org"
)
ISSUER = ("issuers", 0)
TARGET = ("targets", 0)
MAPPING = ("role_mappings", 0)


def test_the_minimal_configuration_has_every_default_spelled_out():
    assert config.parse(MINIMAL).model_dump() == {
        "listen": {
            "grpc": "127.0.0.1:50051",
            "admin": "127.0.0.1:9464",
            "tls": None,
            "admin_grpc": None,
            "console": None,
            "admin_clients": [],
            "socket_mode": "0660",
            "socket_owner": None,
            "engine": "auto",
            "insecure_plaintext": False,
        },
        "console": {
            "url": None,
            "tls": None,
            "oidc": None,
            "matcher": None,
            "act_matcher": None,
            "claims_matcher": None,
            "act_clients": [],
            "claims_clients": [],
            "socket_user": None,
            "session_minutes": 480,
            "idle_minutes": 60,
            "envoy_admin": None,
        },
        "resource": {"url": "https://mcp.example.com/mcp", "aliases": [], "name": None},
        "allowed_origins": [],
        "refresh": {
            "interval": 300,
            "shortest": 60,
            "longest": 3600,
            "cooldown": 30,
            "max_staleness": 86_400,
        },
        "issuers": [
            {
                "issuer": "https://idp.example.com/",
                "audiences": ["https://mcp.example.com/mcp"],
                "ignore_audience_slash": False,
                "algorithms": ["RS256", "ES256"],
                "token_types": ["at+jwt", "application/at+jwt", "JWT", ""],
                "leeway": 30,
                "jwks_uri": None,
                "jwks_file": None,
                "allow_insecure_http": False,
                "required_claims": {},
                "required_scopes": [],
                "refresh": None,
                "verified_by": "extproc",
                "sts_token_header": None,
                "sts_token_audiences": [],
                "token_exchange": None,
            }
        ],
        "targets": [
            {
                "name": "aws-mcp",
                "host": "aws-mcp.us-east-1.api.aws",
                "region": None,
                "service": None,
                "payload": None,
                "prefix": None,
                "sign_headers": [],
                "withhold_headers": [],
                "aws_chunked": None,
                "mcp": None,
                "filter_tools_list": False,
                "endpoint_url": None,
                "insecure_plaintext": False,
                "default_aws_region": None,
                "max_connections": None,
                "max_connections_per_subject": None,
                "max_wait": 5.0,
                "max_waiting": None,
                "protocol": "http1",
            }
        ],
        "sts": {
            "region": None,
            "endpoint_url": None,
            "insecure_plaintext": False,
            "timeout": 2.0,
            "deadline": 5.0,
            "workers": 8,
            "max_waiting": 256,
            "max_waiting_per_subject": 4,
            "breaker_failures": 5,
            "breaker_seconds": 1.0,
        },
        "session_duration": 3600,
        "session_name_claim": "sub",
        "session_name": None,
        "session_name_invalid": "replace",
        "role_claim": "groups",
        "fallback_role_arn": None,
        "claims": None,
        "scopes": {},
        "role_mappings": [
            {
                "name": None,
                "issuers": None,
                "claim": "admins",
                "matcher": None,
                "effect": "allow",
                "role_arn": ROLE,
                "priority": None,
                "require_scopes": [],
                "session_duration": None,
                "policy_arns": [],
                "policy": None,
                "message": None,
                "chain": None,
                "valid": None,
                "break_glass": False,
            }
        ],
        "break_glass": {"header": "x-break-glass-reason", "argument": None},
        "ceilings": [],
        "rate_limits": [],
        "shadow": None,
        "support": None,
        "mcp": {"denied_status": None},
        "limits": {
            "request_body_bytes": 10 * 1024 * 1024,
            "request_headers": 100,
            "request_headers_kib": 60,
            "mcp_body_bytes": 256 * 1024,
            "sessions": 10_000,
            "token_bytes": 20_000,
            "claims_depth": 16,
            "claims_values": 2000,
            "policy_cost": 500_000,
        },
        "cache": {"margin": 60.0, "negative_ttl": 30.0, "reuse": "token", "shared": None},
        "head_memory": {"enabled": True, "check_one_in": 1000},
        "observe_upstream": "first",
        "dynamic_metadata": True,
        "audit": {"output": "-", "sample_allows": 1.0, "queue": 10_000},
        "tracing": {"endpoint": None},
        "drain_delay_seconds": 3.0,
        "drain_seconds": 20.0,
    }


def test_settings_cannot_be_changed():
    settings = config.parse(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        settings.session_duration = 1


@each_case(
    ("path", "value"),
    [
        (("listen",), {"grpc": "unix:/run/extproc/extproc.sock", "admin": None}),
        (("listen",), {"grpc": "[::1]:50051"}),
        (("listen",), {"grpc": "localhost:0"}),
        (("listen",), {"grpc": "0.0.0.0:50051", "insecure_plaintext": True}),
        (("listen",), {"admin_grpc": "127.0.0.1:50052"}),
        (("listen",), {"admin_grpc": "[::1]:50052"}),
        (("listen",), {"admin_grpc": "unix:/run/extproc/admin.sock"}),
        (
            ("listen",),
            {"admin_grpc": "0.0.0.0:50052", "tls": MTLS, "admin_clients": ["operator.example.org"]},
        ),
        (("listen",), {"grpc": "0.0.0.0:50051", "tls": TLS}),
        (("listen",), {"grpc": "unix:/run/extproc/s", "socket_mode": "600", "socket_owner": "10001:envoy"}),
        (("listen", "socket_owner"), ":envoy"),
        (
            ("listen", "tls"),
            {
                **TLS,
                "client_ca": "/tls/clients.pem",
                "allowed_clients": ["spiffe://example.org/envoy", "envoy.example.org", "*.envoy.example.org"],
            },
        ),
        ((*ISSUER, "jwks_uri"), "https://keys.example.com/jwks.json"),
        ((*ISSUER, "issuer"), "http://127.0.0.1:8080"),
        ((*ISSUER, "algorithms"), ["RS512", "ES384"]),
        ((*ISSUER, "leeway"), 0),
        ((*TARGET, "prefix"), "/aws"),
        ((*TARGET, "prefix"), "/aws/eu-1/mcp_x.y~z"),
        ((*TARGET, "payload"), "unsigned"),
        ((*TARGET, "sign_headers"), ["Mcp-Session-Id", "x-amz-target"]),
        ((*TARGET, "sign_headers"), ["x-amz-*", "X-Amz-Meta-*", "mcp-*", "x-amz-chime-bearer"]),
        (
            (*TARGET, "withhold_headers"),
            ["X-Amz-*", "x-amz-meta-*", "x-http-method-override", "x-request-id"],
        ),
        ((*TARGET, "endpoint_url"), "http://127.0.0.1:9000"),
        ((*TARGET, "host"), "aws-mcp.eu-central-1.api.aws"),
        ((*MAPPING, "priority"), -1),
        (("session_duration",), 900),
        (("session_duration",), 43_200),
        (("fallback_role_arn",), "arn:aws-cn:iam::123456789012:role/team/ReadOnly"),
        (("role_claim",), "https://example.com/groups"),
        (
            ("sts",),
            {"region": "eu-west-1", "endpoint_url": "https://sts.example.com", "timeout": 1, "deadline": 0.5},
        ),
        (("drain_seconds",), 0),
    ],
)
def test_these_values_are_fine(path, value):
    config.parse(changed(path, value))


def test_a_host_without_region_and_service_needs_both_settings():
    text = changed(
        TARGET, {"name": "x", "host": "gw.example.com:8443", "region": "us-east-1", "service": "execute-api"}
    )
    assert config.parse(text).targets[0].scope == Scope("us-east-1", "execute-api")


def test_region_and_service_are_inferred_from_the_host_unless_set():
    assert config.parse(MINIMAL).targets[0].scope == Scope("us-east-1", "aws-mcp")
    overridden = config.parse(changed((*TARGET, "service"), "other")).targets[0].scope
    assert overridden == Scope("us-east-1", "other")


def test_names_of_headers_to_sign_are_lower_case():
    assert config.parse(changed((*TARGET, "sign_headers"), ["Mcp-Session-Id"])).targets[0].sign_headers == [
        "mcp-session-id"
    ]


@each_case(
    ("path", "value", "lines"),
    [
        (("resource",), REMOVED, ["resource: Field required"]),
        (("issuers",), [], ["issuers: List should have at least 1 item after validation, not 0"]),
        (("targets",), [], ["targets: List should have at least 1 item after validation, not 0"]),
        (("regoin",), "x", ["regoin: unknown key"]),
        ((*TARGET, "hots"), "x", ["targets[0].hots: unknown key; did you mean 'host'?"]),
        ((*MAPPING, "action"), "deny", ["role_mappings[0].action: unknown key"]),
        (("session_duration",), "3600", ["session_duration: Input should be a valid integer"]),
        (("session_duration",), True, ["session_duration: Input should be a valid integer"]),
        (("session_duration",), 899, ["session_duration: Input should be greater than or equal to 900"]),
        (("session_duration",), 43_201, ["session_duration: Input should be less than or equal to 43200"]),
        (
            (*ISSUER, "audiences"),
            "https://mcp.example.com/mcp",
            ["issuers[0].audiences: Input should be a valid list"],
        ),
        (
            (*ISSUER, "audiences"),
            [],
            ["issuers[0].audiences: List should have at least 1 item after validation, not 0"],
        ),
        ((*ISSUER, "audiences"), [""], ["issuers[0].audiences[0]: String should have at least 1 character"]),
        ((*ISSUER, "leeway"), 121, ["issuers[0].leeway: Input should be less than or equal to 120"]),
        ((*TARGET, "payload"), "none", ["targets[0].payload: Input should be 'signed' or 'unsigned'"]),
        (
            (*MAPPING, "matcher"),
            "true",
            ["role_mappings[0]: exactly one of claim and matcher is required"],
        ),
        ((*MAPPING, "claim"), REMOVED, ["role_mappings[0]: exactly one of claim and matcher is required"]),
        (
            (*MAPPING, "role_arn"),
            "arn:aws:iam::123456789012:user/x",
            ["role_mappings[0].role_arn: not the ARN of an IAM role (arn:aws:iam::123456789012:role/NAME)"],
        ),
        (
            ("fallback_role_arn",),
            "Admin",
            ["fallback_role_arn: not the ARN of an IAM role (arn:aws:iam::123456789012:role/NAME)"],
        ),
        (
            ("role_mappings",),
            [],
            ["role_mappings: no mapping and no fallback_role_arn: no request gets a role"],
        ),
        (
            (*ISSUER, "issuer"),
            "http://idp.example.com/",
            ["issuers[0]: keys are fetched over HTTPS only; allow_insecure_http: true is for tests"],
        ),
        (
            (*ISSUER, "jwks_uri"),
            "http://idp.example.com/jwks",
            ["issuers[0]: keys are fetched over HTTPS only; allow_insecure_http: true is for tests"],
        ),
        (
            (*ISSUER, "algorithms"),
            ["HS256", "none", "RS256"],
            ["issuers[0]: algorithms: ['HS256', 'none'] not supported; STS takes RS and ES only"],
        ),
        (
            ("listen", "grpc"),
            "0.0.0.0:50051",
            [
                (
                    "listen: grpc 0.0.0.0:50051 is not a loopback address: bearer tokens would cross the network in clear text; "
                    "set tls, or insecure_plaintext: true only where the network itself is private"
                )
            ],
        ),
        *(
            (
                ("sts", "region"),
                region,
                [
                    (
                        "sts.region: names an endpoint and no region: set the region, and the endpoint in "
                        "sts.endpoint_url, like https://sts-fips.us-east-1.amazonaws.com"
                    )
                ],
            )
            for region in ("us-east-1-fips", "fips-us-east-1", "aws-global")
        ),
        (
            ("sts", "endpoint_url"),
            "HTTP://sts.example.com",
            ["sts.endpoint_url: must begin with http:// in lower case"],
        ),
        (
            ("issuers", 0, "jwks_uri"),
            "HTTPS://idp.example.com/keys",
            ["issuers[0].jwks_uri: must begin with https:// in lower case"],
        ),
        (("listen", "grpc"), "50051", ["listen.grpc: must be HOST:PORT"]),
        (("listen", "grpc"), [], ["listen.grpc: must be HOST:PORT or unix:/path, or a list of these"]),
        (("listen", "grpc"), 50051, ["listen.grpc: must be HOST:PORT or unix:/path, or a list of these"]),
        (("listen", "grpc"), ["127.0.0.1:1", 2], ["listen.grpc: must be a list of HOST:PORT or unix:/path"]),
        (("listen", "grpc"), ["127.0.0.1:1", "x"], ["listen.grpc: x: must be HOST:PORT"]),
        (("listen", "grpc"), ["127.0.0.1:1"] * 2, ["listen.grpc: an address is listed twice"]),
        (
            ("listen", "grpc"),
            ["127.0.0.1:1", "10.0.0.1:2"],
            [
                (
                    "listen: grpc 10.0.0.1:2 is not a loopback address: bearer tokens would cross the network in clear text; "
                    "set tls, or insecure_plaintext: true only where the network itself is private"
                )
            ],
        ),
        (("listen", "admin_grpc"), "50051", ["listen.admin_grpc: must be HOST:PORT"]),
        (("listen", "admin_grpc"), "127.0.0.1:50051", ["listen: admin_grpc needs an address of its own"]),
        (("listen",), {"admin_grpc": "0.0.0.0:50052"}, [f"listen: {NO_ADMIN}"]),
        (("listen",), {"admin_grpc": "0.0.0.0:50052", "insecure_plaintext": True}, [f"listen: {NO_ADMIN}"]),
        (("listen",), {"admin_grpc": "0.0.0.0:50052", "tls": MTLS}, [f"listen: {NO_ADMIN}"]),
        (
            ("listen",),
            {
                "admin_grpc": "0.0.0.0:50052",
                "tls": {**MTLS, "client_ca": None},
                "admin_clients": ["operator.example.org"],
            },
            [f"listen: {NO_ADMIN}"],
        ),
        (
            ("listen",),
            {"admin_grpc": "unix:/run/a.sock", "admin_clients": ["operator.example.org"]},
            ["listen: admin_clients is for an admin_grpc beyond this machine"],
        ),
        (("listen", "grpc"), "unix:", [f"listen.grpc: {NO_SOCKET}"]),
        (("listen", "grpc"), "unix:extproc.sock", [f"listen.grpc: {NO_SOCKET}"]),
        (("listen", "grpc"), "unix:/" + "s" * 107, [f"listen.grpc: {NO_SOCKET}"]),
        (("listen", "socket_mode"), 432, [f"listen.socket_mode: {NO_MODE}"]),
        (("listen", "socket_mode"), "0668", [f"listen.socket_mode: {NO_MODE}"]),
        (("listen", "socket_mode"), "4660", [f"listen.socket_mode: {NO_MODE}"]),
        (
            ("listen", "socket_owner"),
            "a:b:c",
            ["listen.socket_owner: must be user, user:group or :group, by name or number"],
        ),
        (("listen", "tls"), {"certificate": "c.pem"}, ["listen.tls.private_key: Field required"]),
        (
            ("listen", "tls"),
            {**TLS, "allowed_clients": ["envoy.example.org"]},
            ["listen.tls: allowed_clients needs client_ca: without it no client's name is verified"],
        ),
        *(
            (
                ("listen", "tls"),
                {**TLS, "client_ca": "ca.pem", "allowed_clients": [name]},
                [f"listen.tls.allowed_clients[0]: {NO_CLIENT}"],
            )
            for name in (
                "",
                "*",
                "Envoy.example",
                "spiffe://",
                "spiffe://td/*",
                "a.*.example",
                "CN=envoy",
                "*.",
            )
        ),
        (("listen", "admin"), "127.0.0.1:65536", ["listen.admin: must be HOST:PORT"]),
        (("listen", "admin"), "127.0.0.1:٨٠", ["listen.admin: must be HOST:PORT"]),
        (
            (*TARGET, "host"),
            "gw.example.com",
            ["targets[0]: region and service cannot be inferred from this host: set both"],
        ),
        (
            (*TARGET, "host"),
            "AWS-MCP.us-east-1.api.aws",
            [
                "targets[0].host: must be a lower-case host name, with a port only if it is not the default one"
            ],
        ),
        (("sts", "timeout"), float("inf"), ["sts.timeout: Input should be less than or equal to 60"]),
        (("sts", "deadline"), 0, ["sts.deadline: Input should be greater than 0"]),
    ],
)
def test_a_problem_is_one_line_with_its_path_and_message(path, value, lines):
    assert problems(changed(path, value)) == lines


def test_all_problems_are_reported_at_once():
    text = changed((*TARGET, "prefix"), "aws/").replace("claim: admins", "claim: 5")
    assert problems(text) == [
        "targets[0].prefix: must be a path like /aws, without a slash at the end",
        "role_mappings[0].claim: Input should be a valid string",
    ]


@each_case(
    ("matcher", "message"),
    [
        ("claims.x ==", "CEL: line 1, column 10: not a CEL expression"),
        ('"a" in groups', "CEL: column 8: undeclared variable 'groups'"),
        ("claims.x.foo()", "CEL: column 10: unknown function 'foo'"),
        ("!" * 200 + "true", "CEL: nested too deeply"),
        ("", "CEL: line 1, column 1: not a CEL expression"),
    ],
)
def test_a_matcher_that_does_not_compile_is_reported_with_its_path(matcher, message):
    assert problems(changed(MAPPING, {"matcher": matcher, "role_arn": ROLE})) == [
        f"role_mappings[0].matcher: {message}"
    ]


@each_case(
    "prefix",
    [
        "",
        "/",
        "aws",
        "/aws/",
        "//aws",
        "/a//b",
        "/./a",
        "/../a",
        "/a/..",
        "/.aws",
        "/a b",
        "/a%20b",
        "/a?b",
        "/ä",
        "/a\n",
    ],
)
def test_a_prefix_is_whole_plain_segments(prefix):
    assert problems(changed((*TARGET, "prefix"), prefix)) == [
        "targets[0].prefix: must be a path like /aws, without a slash at the end"
    ]


@each_case(
    "name",
    [
        "authorization", "Authorization", "host", "content-type", "content-length", "connection", "user-agent",
        "x-forwarded-for", "X-Forwarded-Anything", "x-envoy-attempt-count", "x-request-id", "forwarded", "via",
        "traceparent", "b3", "x-b3-traceid", "x-amzn-trace-id", "cookie", "proxy-authorization", "te", "expect",
        "transfer-encoding", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256",
    ],
)  # fmt: skip
def test_a_header_that_is_signed_already_or_may_change_cannot_be_added(name):
    assert problems(changed((*TARGET, "sign_headers"), [name])) == [
        f"targets[0].sign_headers[0]: {name.lower()} is signed already, or changes on the way and cannot be"
    ]


@pytest.mark.parametrize("name", ["x-amzn-bedrock-agentcore-runtime-user-id", "X-Amz-S3session-Token"])
def test_a_header_that_no_client_may_send_cannot_be_signed(name):
    assert problems(changed((*TARGET, "sign_headers"), [name])) == [
        f"targets[0].sign_headers[0]: {name.lower()} is never taken from a client"
    ]


@each_case("pattern", ["x-*", "*", "x-amz*", "x-*-y", "x-a-*-*", "x--*", "a-*"])
def test_a_pattern_is_the_beginning_of_a_name_up_to_a_hyphen(pattern):
    for setting in ("sign_headers", "withhold_headers"):
        assert problems(changed((*TARGET, setting), [pattern])) == [
            f"targets[0].{setting}[0]: must be a header name, or a pattern like x-amz-meta-*"
        ]


@each_case("pattern", ["x-forwarded-*", "x-forwarded-for-*", "x-envoy-*", "x-b3-*", "x-request-*"])
def test_a_pattern_of_what_changes_on_the_way_cannot_be_signed(pattern):
    assert problems(changed((*TARGET, "sign_headers"), [pattern]))


@each_case("name", ["authorization", "x-amz-date", "host", "content-length", "content-*"])
def test_what_the_request_needs_cannot_be_withheld(name):
    assert problems(changed((*TARGET, "withhold_headers"), [name])) == [
        f"targets[0].withhold_headers[0]: {name} is always replaced, or needed to forward the request"
    ]


def test_a_header_cannot_be_both_signed_and_withheld():
    target = {
        "name": "aws-mcp",
        "host": "aws-mcp.us-east-1.api.aws",
        "sign_headers": ["x-amz-meta-*"],
        "withhold_headers": ["X-Amz-Meta-*"],
    }
    assert problems(changed(TARGET, target)) == [
        "targets[0]: x-amz-meta-* is both in sign_headers and in withhold_headers"
    ]


@each_case("name", ["", "a b", "a:", ":path", "x-ä", "a\n", "a_b"])
def test_a_header_to_sign_has_a_header_name(name):
    assert problems(changed((*TARGET, "sign_headers"), [name])) == [
        "targets[0].sign_headers[0]: must be a header name"
    ]


@each_case(
    "url",
    [
        "",
        "mcp.example.com",
        "ftp://mcp.example.com/",
        "https://",
        "https:///mcp",
        "https://mcp.example.com/?a=1",
        "https://mcp.example.com/#a",
        "https://user:hunter2@mcp.example.com/",
        'https://mcp.example.com/"x',
        "https://mcp.example.com/a b",
        "https://mcp.example.com/\r\nx: y",
        "https://mcp.example.com/\tx",
        "https://mcp.example.com:99999/",
        "https://mcp.example.com:port/",
        "https://[::1/",
        "https://mcp.example.com/ä",
    ],
)
def test_the_resource_is_a_plain_http_url_that_fits_into_a_challenge(url):
    (line,) = problems(changed(("resource", "url"), url))
    assert line.startswith("resource.url: ")
    assert "hunter2" not in line


def test_two_sources_of_keys_exclude_each_other():
    text = changed((*ISSUER, "jwks_uri"), "https://idp.example.com/jwks").replace(
        "jwks_uri:", "jwks_file: /keys.json\n  jwks_uri:"
    )
    assert problems(text) == ["issuers[0]: jwks_uri and jwks_file exclude each other"]


def test_keys_from_a_file_need_no_https():
    text = changed((*ISSUER, "jwks_file"), "/keys.json").replace("https://idp.", "http://idp.")
    assert config.parse(text).issuers[0].jwks_file == "/keys.json"


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ({"name": "a", "prefix": "/a"}, {"name": "a", "prefix": "/b"}, "targets: name 'a' is used twice"),
        ({"name": "a", "prefix": "/a"}, {"name": "b", "prefix": "/a"}, "targets: prefix '/a' is used twice"),
        ({"name": "a"}, {"name": "b"}, "targets: a, b: only one target can do without a prefix"),
    ],
)
def test_targets_must_be_distinguishable(first, second, line):
    host = {"host": "aws-mcp.us-east-1.api.aws"}
    assert problems(changed(("targets",), [host | first, host | second])) == [line]


def test_one_target_without_a_prefix_beside_others_is_fine():
    host = {"host": "aws-mcp.us-east-1.api.aws"}
    config.parse(changed(("targets",), [host | {"name": "a"}, host | {"name": "b", "prefix": "/b"}]))


def test_names_of_issuers_and_mappings_are_unique():
    issuer = {"issuer": "https://idp.example.com/", "audiences": ["a"]}
    assert problems(changed(("issuers",), [issuer, issuer])) == [
        "issuers: issuer 'https://idp.example.com/' is used twice"
    ]
    mapping = {"name": "m", "claim": "a", "role_arn": ROLE}
    assert problems(changed(("role_mappings",), [mapping, mapping])) == [
        "role_mappings: name 'm' is used twice"
    ]


# YAML.


@each_case(
    ("text", "lines"),
    [
        ("", ["document: must be a mapping, but is empty; `extproc init` writes one"]),
        ("- a", ["document: must be a mapping, as `extproc init` writes it"]),
        ("text", ["document: must be a mapping, as `extproc init` writes it"]),
        ("a: 1\na: 2", ["line 2: 'a' is set twice"]),
        ("{a: {b: 1, b: 1}}", ["line 1: 'b' is set twice"]),
        ("a:\n  - b: 1\n    'b': 2", ["line 3: 'b' is set twice"]),
        ("a: [", ["line 1: not valid YAML: expected the node content, but found '<stream end>'"]),
        ("a: *b", ["line 1: not valid YAML: found undefined alias 'b'"]),
        ("a: &x {b: 1}\nc:\n  <<: *x", ["line 3: merge keys (<<) are not supported"]),
        ("? [a]\n: b", ["line 1: a key must be a plain string"]),
        ("a: !!int abc", ["document: not valid YAML: a value cannot be read"]),
        ("a: 2024-13-45", ["document: not valid YAML: a value cannot be read"]),
        ("[" * 1500, ["document: not valid YAML: a value cannot be read"]),
        ("a: \x00", ["document: not valid YAML: cannot be read"]),
        ("a: 1\n---\na: 2", ["document: one YAML document is expected"]),
    ],
)
def test_yaml_with_more_than_one_reading_or_none_is_refused(text, lines):
    assert problems(text) == lines


def test_no_yaml_tag_makes_an_object():
    (line,) = problems("a: !!python/object/apply:os.getcwd []")
    assert line.startswith("line 1: not valid YAML: could not determine a constructor")


@each_case(
    "key",
    [
        "listen: *a20",
        "issuers: *a20",
        "issuers: [{issuer: x, audiences: *a20}]",
        "role_mappings: *a20",
        "x: *a20",
    ],
)
def test_aliases_of_aliases_do_not_explode(key):
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 21)
    )
    started = time.perf_counter()
    lines = problems(bomb + key)
    assert time.perf_counter() - started < 2
    assert sum(map(len, lines)) < 5000


def test_merges_of_merges_do_not_explode():
    bomb = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 21)
    )
    assert problems(bomb) == ["line 2: merge keys (<<) are not supported"]


def test_a_list_that_contains_itself_is_an_ordinary_mistake():
    assert "a: unknown key" in problems("a: &a [*a]")


@each_case(
    "path",
    [
        ("password",), ("sts", "region"), ("sts", "endpoint_url"), ("sts", "workers"), ("listen", "grpc"), ("listen", "admin"),
        (*TARGET, "payload"), (*TARGET, "prefix"), (*TARGET, "host"), (*TARGET, "name"), (*ISSUER, "jwks_uri"),
        (*ISSUER, "issuer"), (*MAPPING, "role_arn"), (*MAPPING, "priority"), ("fallback_role_arn",), ("session_duration",),
        ("resource", "url"), (*ISSUER, "audiences"),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_is_refused_is_not_repeated(path):
    assert "hunter2" not in "\n".join(problems(changed(path, "hunter2 /")))


# Files and the command.


@pytest.fixture
def run(tmp_path):
    def check(text):
        path = tmp_path / "extproc.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path, CliRunner().invoke(main, ["check", "--config", str(path)])

    return check


def test_check_accepts_a_good_file_with_exit_0(run):
    path, result = run(MINIMAL)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "mapping role_mappings[0]: reads claims.groups",
        "with 300 groups this policy needs at most 601 of 500,000 units",
        f"{path}: ok (1 issuer, 1 target, 1 role mapping)",
    ]


def test_check_refuses_a_bad_file_with_exit_2_and_one_line_a_problem_with_its_place(run):
    text = changed((*TARGET, "prefix"), "aws/").replace("claim: admins", "claim: 5")
    path, result = run(text)
    assert (result.exit_code, result.stdout) == (2, "")
    lines = text.splitlines()
    at = {
        key: f"{path}:{lines.index(line) + 1}:3"
        for key, line in (("prefix", "  prefix: aws/"), ("claim", "- claim: 5"))
    }
    assert result.stderr.splitlines() == [
        f"targets[0].prefix: must be a path like /aws, without a slash at the end ({at['prefix']})",
        f"role_mappings[0].claim: Input should be a valid string ({at['claim']})",
    ]


def test_check_says_what_is_wrong_with_a_file_it_cannot_read(run, tmp_path):
    path, result = run(b"\xff\xfe\x00")
    assert (result.exit_code, result.stderr) == (2, f"{path}: not UTF-8; save it as YAML in UTF-8\n")
    missing = tmp_path / "missing.yaml"
    result = CliRunner().invoke(main, ["check", "--config", str(missing)])
    write_one = "correct the path, or write a configuration with `extproc init`"
    assert (result.exit_code, result.stderr) == (2, f"{missing}: No such file or directory; {write_one}\n")
    result = CliRunner().invoke(main, ["check", "--config", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (2, f"{tmp_path}: Is a directory; name a file in it\n")


def test_the_listen_section_can_be_read_from_a_file_that_is_otherwise_invalid(tmp_path):
    path = tmp_path / "extproc.yaml"
    path.write_text("listen: {grpc: '127.0.0.1:1234', admin_grpc: 'unix:/run/x'}\nissuers: 3\nmisspelt: 1\n")
    listen = config.load_listen(path)
    assert (listen.grpc_addresses, listen.admin_grpc) == (["127.0.0.1:1234"], "unix:/run/x")
    path.write_text("issuers: []\n")
    assert config.load_listen(path) == config.Listen()
    path.write_text("listen: {grpc: 3}\n")
    with pytest.raises(config.ConfigError, match=r"^listen\.grpc"):
        config.load_listen(path)


FOREIGN_ROLE = "arn:minio:iam:::role/nOybJqMNzNmroqEKq5D0EUsRZw0"
NOT_AWS = (
    "not the ARN of an IAM role (arn:aws:iam::123456789012:role/NAME); another form needs sts.endpoint_url"
)


@each_case("endpoint_url", [None, "https://vpce-1.sts.us-east-1.vpce.amazonaws.com"])
@each_case(
    ("path", "value", "where"),
    [
        ((*MAPPING, "role_arn"), FOREIGN_ROLE, "role_mappings[0].role_arn"),
        (("fallback_role_arn",), FOREIGN_ROLE, "fallback_role_arn"),
        ((*MAPPING, "chain"), {"role_arn": FOREIGN_ROLE}, "role_mappings[0].chain.role_arn"),
        (("fallback_role_arn",), "arn:aws:iam:::role/S3Access", "fallback_role_arn"),
        (("fallback_role_arn",), "arn:aws:iam::12345678901:role/S3Access", "fallback_role_arn"),
    ],
)
def test_roles_of_other_services_need_another_sts(path, value, where, endpoint_url):
    document = yaml.safe_load(changed(path, value))
    document["sts"] = {"endpoint_url": endpoint_url}
    assert problems(yaml.safe_dump(document)) == [f"{where}: {NOT_AWS}"]
    document["sts"] = {"endpoint_url": "https://minio.example.com:9000"}
    assert config.parse(yaml.safe_dump(document)).sts.endpoint_url is not None
