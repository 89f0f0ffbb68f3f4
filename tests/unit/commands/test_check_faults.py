"""``extproc check`` names the one fault in each of these configurations, and none in the examples."""

import copy
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main
from extproc.commands import cel_check
from extproc.config import Settings
from support.tables import each_case

ROOT = Path(__file__).parents[3]
REMOVED = object()
URL = "https://mcp.example.com/mcp"
ARN = "arn:aws:iam::123456789012:role/"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
BIG = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"%s","Resource":"*"}]}' % ("x" * 2048)
BASE = {
    "listen": {"grpc": "127.0.0.1:50051", "admin": "127.0.0.1:9464"},
    "resource": {"url": URL},
    "issuers": [{"issuer": "https://idp.example.com/", "audiences": [URL]}],
    "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
    "sts": {"region": "us-east-1"},
    "role_mappings": [
        {"name": "blocked", "matcher": "has(claims.blocked) && claims.blocked", "effect": "deny"},
        {"name": "admin", "claim": "admin", "role_arn": ARN + "Admin", "priority": 1},
        {"name": "dev", "matcher": '"dev" in claims.groups', "role_arn": ARN + "Dev", "priority": 2},
    ],
    "ceilings": [{"name": "agents", "matcher": "agents != []", "max_mapping": "dev"}],
}
SECOND_ISSUER = {"issuer": "https://partner.example.net", "audiences": [URL]}
SECOND_TARGET = {"name": "second", "host": "aws-mcp.eu-west-1.api.aws", "prefix": "/second"}
CHAIN = {"role_arn": ARN + "Second"}

FAULTS = {
    # listen
    "clear text gRPC on the network": ({"listen.grpc": "0.0.0.0:50051"}, "error: listen: grpc 0.0.0.0:50051 is not a loopback"),
    "admin on every address": ({"listen.admin": "0.0.0.0:9464"}, "warning: listen.admin: 0.0.0.0:9464 is reachable"),
    "admin on every IPv6 address": ({"listen.admin": "[::]:9464"}, "warning: listen.admin: [::]:9464 is reachable"),
    "admin API without mTLS": ({"listen.admin_grpc": "0.0.0.0:50052"}, "error: listen: admin_grpc is not a loopback"),
    "admin API on a port": ({"listen.admin_grpc": "127.0.0.1:50052"}, "warning: listen.admin_grpc: every user of this machine"),
    "a socket for everybody": ({"listen.grpc": "unix:/run/e.sock", "listen.socket_mode": "0666"}, "warning: listen.socket_mode: 0666"),
    "an owner without a socket": ({"listen.socket_owner": "envoy"}, "warning: listen.socket_owner"),
    "TLS files elsewhere": ({"listen.tls": {"certificate": "/nowhere/c", "private_key": "/nowhere/k"}}, "note: listen.tls: /nowhere"),
    "allowed clients without a CA": ({"listen.tls": {"certificate": "c", "private_key": "k", "allowed_clients": ["a"]}}, "error: listen.tls: allowed_clients needs client_ca"),
    "an address twice": ({"listen.grpc": ["127.0.0.1:1", "127.0.0.1:1"]}, "error: listen.grpc: an address is listed twice"),
    "Envoy's word over clear text": (
        {"listen.grpc": "0.0.0.0:50051", "listen.insecure_plaintext": True, "issuers.0.verified_by": "envoy", "issuers.0.jwks_uri": "https://idp.example.com/jwks"},
        "warning: listen.grpc: a client of 0.0.0.0:50051 can act as any user",
    ),
    "Envoy's word from whoever has TLS": (
        {"listen.grpc": "0.0.0.0:50051", "listen.tls": {"certificate": "c", "private_key": "k"}, "issuers.0.verified_by": "envoy", "issuers.0.jwks_uri": "https://idp.example.com/jwks"},
        "warning: listen.grpc: a client of 0.0.0.0:50051 can act as any user",
    ),
    # resource and issuers
    "a resource in clear text": ({"resource.url": "http://mcp.example.com/mcp", "issuers.0.audiences": ["http://mcp.example.com/mcp"]}, "warning: resource.url: http://"),
    "another audience": ({"issuers.0.audiences": ["api://other"]}, "warning: issuers[0].audiences: resource.url is not among them"),
    "an alias that is no audience": ({"resource.aliases": ["https://other.example/mcp"]}, "warning: issuers[0].audiences: resource.aliases[0] is not among them"),
    "an audience with a slash more": ({"issuers.0.audiences": [URL + "/"]}, f"warning: issuers[0].audiences: resource.url is not among them, which MCP clients ask for; did you mean '{URL}/'?"),
    "an audience in two spellings": ({"issuers.0.audiences": [URL, URL.replace("mcp.example.com", "MCP.Example.com")]}, "warning: issuers[0].audiences: 'https://MCP.Example.com/mcp' is the same as 'https://mcp.example.com/mcp'"),
    "an audience with and without the slash": ({"issuers.0.audiences": [URL, URL + "/"], "issuers.0.ignore_audience_slash": True}, f"warning: issuers[0].audiences: '{URL}/' is the same as '{URL}'"),
    "a slash that no audience has": ({"issuers.0.audiences": ["api://other", URL + "?x=1"], "issuers.0.ignore_audience_slash": True}, "warning: issuers[0].ignore_audience_slash: none of the audiences"),
    "an audience twice": ({"issuers.0.audiences": [URL, URL]}, f"warning: issuers[0].audiences: '{URL}' is listed twice"),
    "an issuer in clear text": ({"issuers.0.issuer": "http://idp.example.com/"}, "error: issuers[0]: keys are fetched over HTTPS only"),
    "keys in clear text": ({"issuers.0.jwks_uri": "http://idp.example.com/jwks"}, "error: issuers[0]: keys are fetched over HTTPS only"),
    "keys in no file": ({"issuers.0.jwks_file": "/nowhere/jwks.json"}, "warning: issuers[0].jwks_file: /nowhere/jwks.json cannot be read"),
    "metadata for keys": ({"issuers.0.jwks_uri": "https://idp.example.com/.well-known/openid-configuration"}, "warning: issuers[0].jwks_uri: is the address of the metadata"),
    "metadata for an issuer": ({"issuers.0.issuer": "https://idp.example.com/.well-known/openid-configuration"}, "warning: issuers[0].issuer: is the address of a document"),
    "a needless permission": ({"issuers.0.allow_insecure_http": True}, "warning: issuers[0].allow_insecure_http: is not needed"),
    "a symmetric algorithm": ({"issuers.0.algorithms": ["HS256"]}, "error: issuers[0]: algorithms: ['HS256'] not supported"),
    "whom to ask, said twice": ({"support": "Ask the platform team"}, 'warning: support: completes "ask ..."'),
    "a role in the message to denied clients": ({"role_mappings.0.message": f"Not {ARN}Admin."}, "warning: role_mappings[0].message: shows"),
    "a message where nobody is refused": ({"role_mappings.1.message": "x"}, "error: role_mappings[1]: message is what a denied client reads"),
    "a status of denials that is none": ({"mcp": {"denied_status": 500}}, "error: mcp.denied_status"),
    "a scope that no token has": ({"issuers.0.required_scopes": ["offline_access"]}, "warning: issuers[0].required_scopes: offline_access"),
    "a scope that a rule requires and no token has": ({"role_mappings.1.require_scopes": ["offline_access"]}, "warning: role_mappings[1].require_scopes: offline_access"),
    "a scope twice": ({"issuers.0.required_scopes": ["mcp", "mcp"]}, "warning: issuers[0].required_scopes: 'mcp' is listed twice"),
    "a scope that another includes": ({"scopes": {"aws:*": ["aws:read"]}, "ceilings.0.require_scopes": ["aws:read", "aws:*"]}, "warning: ceilings[0].require_scopes: aws:read is included in aws:*"),
    "a scope that includes itself": ({"scopes": {"a": ["b"], "b": ["c"], "c": ["a"]}}, "error: scopes: a includes itself: a > b > c > a"),
    "a scope of nothing": ({"scopes": {"aws:*": []}}, "error: scopes.aws:*: List should have at least 1 item"),
    "a scope that is none": ({"role_mappings.1.require_scopes": ["aws call"]}, "error: role_mappings[1].require_scopes[0]: String should match"),
    "a scope for a scope that is none": ({"scopes": {"aws:* all": ["a"]}}, "error: scopes.aws:* all"),
    "a misspelt scope": ({"scopes": {"aws:*": ["aws:cal"]}, "role_mappings.1.require_scopes": ["aws:call"]}, "warning: scopes.aws:*: includes nothing that is required; did you mean 'aws:call'?"),
    "scopes asked for at once": ({"role_mappings.1.require_scopes": ["aws:call"]}, "note: issuers[0].required_scopes: none, so that a 401 names no scope"),
    "a scope that is passed over": ({"issuers.0.required_scopes": ["mcp"], "role_mappings.1.require_scopes": ["aws:call"]}, "note: mapping admin: tokens without scope aws:call go on to mapping dev"),
    "more without a scope": (
        {"issuers.0.required_scopes": ["mcp"], "role_mappings.1.require_scopes": ["aws:read"], "role_mappings.1.policy_arns": [READ_ONLY], "role_mappings.2.role_arn": ARN + "Admin"},
        "warning: mapping admin: tokens without scope aws:read can get the same role from mapping dev, without a session policy",
    ),
    "a condition twice, the second time with a scope more": ({"role_mappings.1.require_scopes": ["a"], "role_mappings.2": {"name": "dev", "claim": "admin", "role_arn": ARN + "Dev", "priority": 2, "require_scopes": ["a", "b"]}}, "warning: mapping dev: never reached, since mapping admin has the same condition"),
    "a claim that always differs": ({"issuers.0.required_claims": {"jti": "x"}}, "warning: issuers[0].required_claims: jti differs"),
    "an issuer twice": ({"issuers.1": BASE["issuers"][0]}, "error: issuers: issuer 'https://idp.example.com/' is used twice"),
    "an issuer with and without a slash": ({"issuers.1": {**SECOND_ISSUER, "issuer": "https://idp.example.com"}}, "warning: issuers[1].issuer: differs from issuers[0]"),
    "refresh times out of order": ({"refresh": {"shortest": 3601}}, "error: refresh: shortest, interval, longest"),
    "an origin in clear text": ({"allowed_origins": ["http://app.example"]}, "warning: allowed_origins[0]: a page that comes over http://"),
    # targets
    "a region that the host denies": ({"targets.0.region": "eu-west-1"}, "warning: targets[0].region: eu-west-1 contradicts the host"),
    "a service that the host denies": ({"targets.0.service": "execute-api"}, "warning: targets[0].service: execute-api contradicts the host"),
    "a misspelt region": ({"targets.0.default_aws_region": "us-east1"}, "warning: targets[0].default_aws_region: us-east1 does not look like"),
    "a host with a scheme": ({"targets.0.host": "https://aws-mcp.us-east-1.api.aws"}, "error: targets[0].host: must be a lower-case host name"),
    "a host with the default port": ({"targets.0": {"name": "t", "host": "gw.example.com:443", "region": "us-east-1", "service": "execute-api"}}, "warning: targets[0].host: clients leave out"),
    "a host that tells nothing": ({"targets.0.host": "gw.example.com"}, "error: targets[0]: region and service cannot be inferred"),
    "a target in clear text": ({"targets.0.endpoint_url": "http://vpce.example.com"}, "error: targets[0]: endpoint_url: signed requests and session tokens"),
    "a path that is not used": ({"targets.0.endpoint_url": "https://vpce.example.com/mcp"}, "warning: targets[0].endpoint_url: its path"),
    "a header that cannot be signed": ({"targets.0.sign_headers": ["user-agent"]}, "error: targets[0].sign_headers[0]: user-agent"),
    "a target twice": ({"targets.1": BASE["targets"][0]}, "error: targets: name 'aws-mcp' is used twice"),
    "the same target under two names": ({"targets.1": {**BASE["targets"][0], "name": "again", "prefix": "/again"}}, "warning: targets[1]: is the same as targets[0]"),
    "two targets for everything": ({"targets.1": {**SECOND_TARGET, "prefix": None}}, "error: targets: aws-mcp, second: only one target can do without a prefix"),
    "a prefix inside another": ({"targets.1": SECOND_TARGET, "targets.2": {**SECOND_TARGET, "name": "third", "prefix": "/second/x", "host": "aws-mcp.eu-north-1.api.aws"}}, "warning: targets[2].prefix: /second/x hides a part of target second"),
    "an unsigned payload for Lambda": ({"targets.0": {"name": "f", "host": "abc.lambda-url.eu-west-1.on.aws", "payload": "unsigned"}}, "warning: targets[0].payload: Lambda does not"),
    # STS
    "STS in clear text": ({"sts.endpoint_url": "http://sts.example.com"}, "error: sts: endpoint_url: users' tokens would go"),
    "STS of another region": ({"sts.endpoint_url": "https://sts.eu-west-1.amazonaws.com"}, "warning: sts.endpoint_url: is in eu-west-1"),
    "a timeout beyond the deadline": ({"sts.timeout": 9, "sts.deadline": 3}, "warning: sts.timeout: 9.0 s is longer than sts.deadline"),
    "a misspelt region of STS": ({"sts.region": "useast1"}, "warning: sts.region: useast1 does not look like"),
    "roles of another partition": ({"role_mappings.1.role_arn": ARN.replace("aws", "aws-cn", 1) + "Admin"}, "warning: role_mappings[1].role_arn: partition aws-cn is not that of STS: aws (us-east-1)"),
    "a target of another partition": ({"targets.0.host": "aws-mcp.cn-north-1.api.amazonwebservices.com.cn"}, "warning: targets[0].region: cn-north-1 is not in STS's partition"),
    "no room to wait": ({"sts.max_waiting": 0}, "error: sts.max_waiting: "),
    # roles
    "a user's ARN": ({"role_mappings.1.role_arn": "arn:aws:iam::123456789012:user/x"}, "error: role_mappings[1].role_arn: not the ARN of an IAM role"),
    "an account of 11 digits": ({"role_mappings.1.role_arn": "arn:aws:iam::12345678901:role/x"}, "error: role_mappings[1].role_arn: "),
    "a name twice": ({"role_mappings.1.name": "dev", "ceilings": []}, "error: role_mappings: name 'dev' is used twice"),
    "no role for anybody": ({"role_mappings": REMOVED, "ceilings": []}, "error: role_mappings: no mapping and no fallback_role_arn"),
    "two conditions": ({"role_mappings.1.matcher": "true"}, "error: role_mappings[1]: exactly one of claim and matcher"),
    "a rule for all before the others": ({"role_mappings.3": {"name": "all", "matcher": "true", "role_arn": ARN + "All", "priority": 0}}, "warning: mapping admin: never reached, since mapping all always matches"),
    "a deny rule for all": ({"role_mappings.0.matcher": "1 == 1"}, "warning: mapping blocked: denies every request"),
    "a rule for nobody": ({"role_mappings.2.matcher": "1 == 2"}, "warning: mapping dev: never matches"),
    "a condition twice": ({"role_mappings.2": {"name": "dev", "claim": "admin", "role_arn": ARN + "Dev", "priority": 2}}, "warning: mapping dev: never reached, since mapping admin has the same condition"),
    "a method in small letters": ({"role_mappings.0.matcher": 'request.method in ["DELETE", "put"]'}, "warning: role_mappings[0].matcher: request.method is never 'put'"),
    "a target that is none": ({"role_mappings.0.matcher": 'request.target == "aws_mcp"'}, "warning: role_mappings[0].matcher: request.target is never 'aws_mcp'; did you mean 'aws-mcp'?"),
    "an issuer that is none": ({"role_mappings.0.matcher": '"https://idp.example.com" == claims["iss"]'}, "warning: role_mappings[0].matcher: claims.iss is never 'https://idp.example.com'; did you mean"),
    "a header that is never there": ({"role_mappings.0.matcher": 'request.headers["X-Env"] == "a"'}, "error: role_mappings[0].matcher: CEL: column 1: request.headers never has 'X-Env'"),
    "a string for a condition": ({"role_mappings.2.matcher": '"dev"'}, "error: role_mappings[2].matcher: CEL: the result is string, never bool"),
    "a condition that is an error": ({"role_mappings.2.matcher": "1 / 0 == 1"}, "error: role_mappings[2].matcher: CEL: "),
    "a regular expression that is none": ({"role_mappings.2.matcher": 'claims.sub.matches("(")'}, "error: role_mappings[2].matcher: CEL: "),
    "a variable that is none": ({"role_mappings.2.matcher": "claim.groups == []"}, "error: role_mappings[2].matcher: CEL: column 1: undeclared variable 'claim'"),
    "a function that is none": ({"role_mappings.2.matcher": 'claims.sub.startswith("a")'}, "error: role_mappings[2].matcher: CEL: column 12: unknown function 'startswith'"),
    "a member that no request has": ({"role_mappings.2.matcher": 'mcp.tol == "x"'}, "error: role_mappings[2].matcher: CEL: mcp.tol: there is no such member"),
    "a comparison that is never true": ({"role_mappings.2.matcher": "mcp.tool == 1"}, "error: role_mappings[2].matcher: CEL: column 1: string == int is never true"),
    "a syntax error": ({"role_mappings.2.matcher": '"dev" in claims.groups &&'}, "error: role_mappings[2].matcher: CEL: "),
    "an issuer of a rule that is none": ({"role_mappings.1.issuers": ["https://idp.example.com"]}, "error: role_mappings[1].issuers: 'https://idp.example.com' is not one of issuers; did you mean 'https://idp.example.com/'?"),
    "a partner who gets a role": ({"issuers.1": SECOND_ISSUER, "role_mappings.2.issuers": ["https://idp.example.com/"]}, f"warning: mapping admin: tokens of all 2 issuers can get {ARN}Admin"),
    "a partner who gets the fallback": (
        {"issuers.1": SECOND_ISSUER, "fallback_role_arn": ARN + "F", "role_mappings.1.issuers": ["https://idp.example.com/"], "role_mappings.2.issuers": ["https://idp.example.com/"], "ceilings.0.issuers": ["https://idp.example.com/"]},
        f"warning: fallback_role_arn: tokens of all 2 issuers can get {ARN}F",
    ),
    "a deny rule that strangers to a claim meet": ({"role_mappings.0.matcher": "claims.level < 3"}, "note: mapping blocked: denies tokens without claims.level"),
    "a deny rule by group for who has none": ({"role_mappings.0": {"name": "blocked", "claim": "contractors", "effect": "deny"}}, "note: mapping blocked: denies tokens without claims.groups"),
    "a ceiling for who has no agent": ({"ceilings.0.matcher": 'claims.act.sub == "bot"'}, "note: ceiling agents: holds for tokens without claims.act"),
    "a ceiling that lowers no mapping": ({"ceilings.0.max_mapping": "admin"}, "warning: ceiling agents: lowers no mapping"),
    "a ceiling to no mapping": ({"ceilings.0.max_mapping": "devs"}, "error: ceilings[0].max_mapping: no mapping with a role has the name 'devs'"),
    "two session policies": ({"role_mappings.1.policy_arns": [READ_ONLY], "ceilings.0": {"name": "agents", "matcher": "agents != []", "policy_arns": [READ_ONLY]}}, "warning: ceiling agents: has a session policy, and so has mapping admin"),
    "a session policy that is too large": ({"role_mappings.1.policy": BIG}, "error: role_mappings[1]: policy and policy_arns: "),
    "a session policy of another account": ({"role_mappings.1.policy_arns": ["arn:aws:iam::999999999999:policy/P"]}, "warning: role_mappings[1].policy_arns: arn:aws:iam::999999999999:policy/P is not in the account"),
    "a chain that is too long": ({"session_duration": 7200, "role_mappings.1.chain": CHAIN}, "error: role_mappings[1].chain: STS ends chained sessions after 3600 s"),
    "a chain to itself": ({"role_mappings.1.chain": {"role_arn": ARN + "Admin"}}, "warning: role_mappings[1].chain.role_arn: is the first role"),
    "an account twice": ({"role_mappings.1.chain": {"role_arn": "arn:aws:iam::{account}:role/x", "account": "claims.account", "accounts": ["111111111111", "111111111111"]}}, "warning: role_mappings[1].chain.accounts: '111111111111' is listed twice"),
    "a duration beyond AWS's": ({"session_duration": 43_201}, "error: session_duration: "),
    # names and claims
    "one name for all": ({"session_name": '"mcp"'}, "warning: session_name: reads no claim"),
    "a number for a name": ({"session_name_claim": "exp"}, "error: session_name_claim: exp does not name a user"),
    "a list for a name": ({"session_name": "[claims.sub]"}, "error: session_name: CEL: the result is list, never string"),
    "a caller's name": ({"session_name": "request.method"}, "error: session_name: CEL: column 1: undeclared variable 'request'"),
    "a path for a claim": ({"role_claim": "realm_access.roles"}, "warning: role_claim: realm_access.roles is the name of one claim"),
    "a misspelt claim": ({"claims": {"groups": "list(string)", "blocked": "bool?"}, "role_mappings.2.matcher": '"dev" in claims.gruops'}, "error: role_mappings[2].matcher: CEL: column 10: claims.gruops is not declared in claims; did you mean 'groups'?"),
    "a claim of another type": ({"claims": {"groups": "list(string)", "blocked": "string?"}}, "error: role_mappings[0].matcher: CEL: column 24: && is not for string"),
    "a type that is none": ({"claims": {"groups": "strings"}}, "error: claims: groups: 'strings' is not a type"),
    # the rest
    "an audit log in no folder": ({"audit": {"output": "/nowhere/audit.log"}}, "warning: audit.output: /nowhere/audit.log cannot be written"),
    "an audit log that is a folder": ({"audit": {"output": "/tmp"}}, "warning: audit.output: /tmp cannot be written"),
    "a limit that comes second": ({"limits": {"mcp_body_bytes": 4096, "request_body_bytes": 1024}}, "warning: limits.mcp_body_bytes: is larger"),
    "a margin of most of a session": ({"cache": {"margin": 600}, "session_duration": 900}, "warning: cache.margin: 600 s is more than half"),
    "a cache of nothing": ({"limits": {"sessions": 0}}, "error: limits.sessions: "),
    "a misspelt key": ({"role_mapping": []}, "error: role_mapping: unknown key"),
}  # fmt: skip


def changed(changes):
    document = copy.deepcopy(BASE)
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place = document
        for part in parents:
            place = place[part]
        if value is REMOVED:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    return document


def findings(tmp_path, document):
    path = tmp_path / "extproc.yaml"
    path.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper))
    result = CliRunner().invoke(main, ["check", "--config", str(path)])
    prefix = "error: " if result.exit_code else ""
    assert result.exit_code in (0, 2)
    return [prefix + line for line in result.stderr.splitlines()]


def test_the_configuration_without_a_fault_has_no_finding(tmp_path):
    assert findings(tmp_path, BASE) == []


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_is_named(name, tmp_path):
    changes, expected = FAULTS[name]
    found = findings(tmp_path, changed(changes))
    assert any(line.startswith(expected) for line in found), found


@each_case("example", sorted(path.parent.name for path in ROOT.glob("envoy/*/extproc.yaml")))
def test_no_example_has_a_finding(example):
    result = CliRunner().invoke(main, ["check", "--config", str(ROOT / "envoy" / example / "extproc.yaml")])
    # The files for mTLS are on the machine where it runs.
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note: listen.tls: /etc/")]
    assert (result.exit_code, lines) == (0, [])


def test_the_second_type_checker_runs_where_it_is_installed():
    pytest.importorskip("cel_expr_python")
    mapping = {"matcher": "size(agents) == 'x'", "role_arn": ARN + "A"}
    # Not through validate(): our own checker would refuse it first.
    settings = Settings.model_validate({**BASE, "ceilings": [], "role_mappings": [mapping]})
    (warning,) = cel_check.warnings(settings)
    assert warning.startswith("role_mappings[0].matcher: cel-expr-python: ")
