"""The target of a request, its path there, and what is inferred from AWS host names."""

import pytest

from extproc.errors import Denied, Reason
from extproc.header_names import matches
from extproc.signing.hosts import infer_scope
from extproc.signing.profiles import profile_of
from extproc.signing.sigv4 import Scope
from extproc.signing.targets import Target, TargetTable
from extproc.values import RequestHead
from support.tables import each_case

SCOPE = Scope("us-east-1", "aws-mcp")


def head(path="/mcp", *, authority="gateway.example.com", target_name=None):
    return RequestHead(
        method="POST", path=path, authority=authority, headers=(), has_body=False, target_name=target_name
    )


def target(name, *, prefix=None, host=None):
    return Target(name=name, host=host or f"{name}.example.com", scope=SCOPE, prefix=prefix)


def selected(table, request_head):
    return table.select(request_head).name


def test_a_table_without_targets_cannot_be_made():
    with pytest.raises(ValueError, match="at least one target"):
        TargetTable([])


def test_the_target_that_the_route_names_takes_precedence():
    table = TargetTable([target("a", prefix="/a"), target("b", prefix="/b")])
    assert selected(table, head("/a/x", target_name="b")) == "b"


@pytest.mark.parametrize("name", ["c", "", "A"])
def test_a_name_that_is_not_configured_is_refused_even_if_a_prefix_fits(name):
    table = TargetTable([target("a", prefix="/a"), target("b")])
    with pytest.raises(Denied) as denied:
        table.select(head("/a/x", target_name=name))
    assert denied.value.reason is Reason.TARGET_UNKNOWN


@each_case(
    ("path", "name"),
    [
        ("/aws", "aws"),
        ("/aws/", "aws"),
        ("/aws/mcp", "aws"),
        ("/aws?x=1", "aws"),
        ("/aws/eu", "eu"),
        ("/aws/eu/mcp", "eu"),
        ("/aws/eu?x=1", "eu"),
        ("/aws/europe", "aws"),
        ("/awsome", "rest"),
        ("/aw", "rest"),
        ("/", "rest"),
        ("/AWS/mcp", "rest"),
        ("/%61ws/mcp", "rest"),
        ("/x/aws", "rest"),
        ("/mcp?p=/aws/", "rest"),
    ],
)
def test_the_longest_prefix_at_a_segment_boundary_wins_and_the_one_without_takes_the_rest(path, name):
    targets = [target("aws", prefix="/aws"), target("rest"), target("eu", prefix="/aws/eu")]
    assert selected(TargetTable(targets), head(path)) == name
    assert selected(TargetTable(targets[::-1]), head(path)) == name


def test_the_only_target_takes_everything():
    assert selected(TargetTable([target("only")]), head("/anything", authority="whatever")) == "only"


def test_without_a_target_for_the_rest_an_unknown_path_is_refused():
    with pytest.raises(Denied) as denied:
        TargetTable([target("a", prefix="/a")]).select(head("/b"))
    assert denied.value.reason is Reason.TARGET_UNKNOWN


def test_several_targets_without_a_prefix_are_selected_by_their_hosts_only():
    table = TargetTable([target("a", host="a.example.com"), target("b", host="b.example.com")])
    assert selected(table, head(authority="b.example.com")) == "b"
    assert selected(table, head(authority="A.Example.COM")) == "a"
    for authority in ("c.example.com", "", "a.example.com:8443", "a.example.com.evil.test"):
        with pytest.raises(Denied):
            table.select(head(authority=authority))


@each_case(
    ("path", "stripped"),
    [
        ("/aws", "/"),
        ("/aws/", "/"),
        ("/aws/mcp", "/mcp"),
        ("/aws/mcp/", "/mcp/"),
        ("/aws?x=1", "/?x=1"),
        ("/aws/?x=1", "/?x=1"),
        ("/aws/mcp?x=/aws", "/mcp?x=/aws"),
        ("/aws/aws/mcp", "/aws/mcp"),
        ("/aws//mcp", "//mcp"),
        ("/awsome", "/awsome"),
        ("/mcp", "/mcp"),
    ],
)
def test_the_prefix_is_stripped_once_and_only_where_it_is_one(path, stripped):
    assert target("aws", prefix="/aws").strip_prefix(path) == stripped


def test_without_a_prefix_nothing_is_stripped():
    assert target("aws").strip_prefix("/aws/mcp") == "/aws/mcp"


@each_case(
    ("host", "scope"),
    [
        ("aws-mcp.us-east-1.api.aws", Scope("us-east-1", "aws-mcp")),
        ("aws-mcp.eu-central-1.api.aws", Scope("eu-central-1", "aws-mcp")),
        ("aws-mcp.us-gov-west-1.api.aws", Scope("us-gov-west-1", "aws-mcp")),
        ("bedrock-agentcore.us-west-2.amazonaws.com", Scope("us-west-2", "bedrock-agentcore")),
        ("gw-1.gateway.bedrock-agentcore.us-west-2.amazonaws.com", Scope("us-west-2", "bedrock-agentcore")),
    ],
)
def test_region_and_service_are_inferred_from_known_aws_hosts(host, scope):
    assert infer_scope(host) == scope


@each_case(
    "host",
    [
        "",
        "mcp.example.com",
        "api.aws",
        "us-east-1.api.aws",
        "aws-mcp.api.aws",
        "aws-mcp.us-east-1.api.aws.evil.test",
        "aws-mcp.us-east-1.api.aws:8443",
        "aws-mcp.nowhere.api.aws",
        "a.b.us-east-1.api.aws",
        "AWS-MCP.us-east-1.api.aws",
        "aws-mcp.us-east-1.api.aws\n",
        "evilbedrock-agentcore.us-west-2.amazonaws.com",
        "lambda.us-east-1.amazonaws.com",
    ],
)
def test_nothing_is_inferred_from_other_hosts(host):
    assert infer_scope(host) is None


@each_case(
    ("service", "mcp", "takes"),
    [("aws-mcp", None, True), ("s3", None, False), ("s3", True, True), ("aws-mcp", False, False)],
)
def test_a_target_takes_mcp_messages_unless_it_is_s3_or_configured_otherwise(service, mcp, takes):
    made = Target(name="t", host="h.example", scope=Scope("us-east-1", service), mcp=mcp)
    assert made.takes_mcp is takes
    assert made.s3_style is (service == "s3")


def test_what_any_target_signs_is_signed_by_the_table():
    plain = Target(name="plain", host="a.example", scope=Scope("us-east-1", "x"))
    signing = Target(
        name="signing", host="b.example", scope=Scope("us-east-1", "x"), sign_headers=frozenset({"x-a"})
    )
    assert TargetTable([plain, signing]).sign_any(["x-b", "x-a"])
    assert not TargetTable([plain, signing]).sign_any(["x-b", "user-agent"])
    assert not TargetTable([plain]).sign_any(["x-a"])


def test_a_target_without_a_prefix_owns_no_path():
    assert not Target(name="t", host="h.example", scope=Scope("us-east-1", "x")).owns("/")


@each_case(
    ("service", "needs"),
    [("sqs", ("x-amz-target",)), ("sns", ()), ("lambda", ("x-amz-invocation-type",)), ("never-heard-of", ())],
)
def test_services_need_the_headers_of_their_protocol(service, needs):
    assert profile_of(service).needs == needs


@each_case(
    ("pattern", "name", "fits"),
    [
        ("x-amz-meta-*", "x-amz-meta-a", True),
        ("x-amz-meta-*", "x-amz-metab", False),
        ("x-amz-meta-*", "y-amz-meta-a", False),
        ("x-a", "x-a", True),
        ("x-a", "x-ab", False),
        ("x-a", "x-b", False),
    ],
)
def test_a_pattern_with_a_star_is_the_beginning_of_a_name_and_any_other_is_the_name(pattern, name, fits):
    assert matches(pattern, name) is fits


@pytest.mark.parametrize(("service", "sends"), [("vpc-lattice-svcs", True), ("s3", True), ("aws-mcp", False)])
def test_services_that_read_the_hash_of_the_body_get_it(service, sends):
    made = Target(name="t", host="h.example", scope=Scope("us-east-1", service))
    assert made.sends_payload_hash is sends
