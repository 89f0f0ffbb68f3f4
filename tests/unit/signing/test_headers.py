"""The treatment of clients' headers: signed, replaced, withheld and counted, or refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Denied, Reason
from extproc.header_names import ALWAYS_REPLACED, FORWARDED_UNSIGNED, NAMES_A_USER, REFUSED
from extproc.signing.headers import ClientHeaders, HeaderPolicy, Treatment
from extproc.signing.profiles import profile_of
from extproc.signing.sigv4 import Scope
from extproc.signing.targets import Target
from extproc.values import RequestHead
from support.tables import each_case


def target(service="s3", **settings):
    sets = {name: frozenset(values) for name, values in settings.items()}
    return Target(name="t", host="h.example", scope=Scope("us-east-1", service), **sets)


def head(*headers):
    return RequestHead("PUT", "/k", "gateway.example", tuple(headers), has_body=True)


def sort(*headers, service="s3", **settings):
    return target(service, **settings).client_headers.sort(head(*headers))


def refusal(*headers, **settings):
    with pytest.raises(Denied) as denied:
        sort(*headers, **settings)
    return denied.value


S3_HEADERS = [
    "x-amz-acl", "x-amz-checksum-sha256", "x-amz-copy-source", "x-amz-copy-source-if-match", "x-amz-meta-a",
    "x-amz-expected-bucket-owner", "x-amz-object-lock-mode", "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-customer-key", "x-amz-storage-class", "x-amz-tagging", "x-amz-request-payer",
    "x-amz-website-redirect-location", "x-amz-sdk-checksum-algorithm", "x-amz-bypass-governance-retention",
]  # fmt: skip


@each_case("name", [*S3_HEADERS, "x-amz-what-aws-may-add-tomorrow"])
def test_aws_headers_of_clients_are_signed_and_stay(name):
    assert sort((name, "v"), ("accept", "*/*")) == (((name, "v"),), (), 0)


@each_case("service", ["dynamodb", "sqs", "lambda", "bedrock", "execute-api", "x"])
def test_they_are_for_every_ordinary_service(service):
    signed = sort(("x-amz-target", "Q.A"), ("x-amzn-bedrock-trace", "on"), service=service).signed
    assert signed == (("x-amz-target", "Q.A"), ("x-amzn-bedrock-trace", "on"))


@each_case("service", ["aws-mcp", "bedrock-agentcore", "eks-mcp", "ecs-mcp"])
@each_case("name", ["x-amz-target", "x-amz-meta-a", "x-amzn-anything", "x-amz-"])
def test_mcp_services_refuse_unknown_headers_by_name(service, name):
    denied = refusal((name, "secret-value"), service=service)
    assert denied.reason is Reason.HEADER_REFUSED
    assert name in denied.client_text
    assert "secret-value" not in denied.client_text + denied.detail


def test_agentcore_accepts_the_headers_of_its_own_api_except_the_users_id():
    known = [
        ("x-amzn-bedrock-agentcore-runtime-session-id", "s"),
        ("x-amzn-bedrock-agentcore-runtime-custom-tenant", "t"),
    ]
    assert sort(*known, ("x-amz-user-agent", "js"), service="bedrock-agentcore") == (
        tuple(known), ("x-amz-user-agent",), 1,
    )  # fmt: skip
    for name in ("x-amzn-bedrock-agentcore-runtime-user-id", "x-amzn-bedrock-agentcore-payments-user-id"):
        assert refusal((name, "boss"), service="bedrock-agentcore").reason is Reason.HEADER_REFUSED


@each_case("service", ["s3", "aws-mcp"])
@each_case("sign", [[], ["x-amz-*", "x-amzn-*"]])
@each_case("name", sorted(REFUSED))
def test_headers_that_no_client_may_send_are_refused_whatever_is_signed(name, sign, service):
    assert refusal((name, "v"), service=service, sign_headers=sign).reason is Reason.HEADER_REFUSED


@each_case("service", ["s3", "x", "aws-mcp", "bedrock-agentcore"])
@each_case(
    "name",
    [
        "x_amz_date", "x-amz-security_token", "x.amz.security.token", "x_amzn_bedrock_agentcore_runtime_user_id",
        "proxy_authorization", "x-amzn_oidc_identity", "x_http_method_override", "x_amz_acl",
    ],
)  # fmt: skip
def test_a_name_that_some_servers_read_as_one_with_hyphens_is_refused(service, name):
    denied = refusal((name, "v"), service=service)
    assert denied.reason is Reason.HEADER_REFUSED
    assert name in denied.client_text


def test_a_name_with_underscores_counts_as_it_is_where_that_makes_no_difference_or_is_configured():
    metadata = (("x-amz-meta-my_key", "v"), ("my_header", "v"))
    assert sort(*metadata) == (metadata[:1], (), 0)
    assert sort(("x_amz_acl", "v"), sign_headers=["x_amz_acl"]).signed == (("x_amz_acl", "v"),)
    assert sort(("x_amz_date", "v"), withhold_headers=["x_amz_*"]) == ((), ("x_amz_date",), 1)


@each_case("name", sorted(ALWAYS_REPLACED))
@each_case("settings", [{}, {"sign_headers": ["x-amz-*"]}, {"withhold_headers": ["x-amz-*"]}])
def test_headers_that_are_always_replaced_are_removed_and_not_counted(name, settings):
    assert sort((name, "theirs"), (name, "twice"), **settings) == ((), (name,), 0)


@pytest.mark.parametrize("name", NAMES_A_USER)
def test_a_header_that_names_the_user_of_a_call_is_accepted_only_where_it_is_configured(name):
    assert refusal((name, "arn"), service="chime").reason is Reason.HEADER_REFUSED
    assert refusal((name, "arn"), service="chime", sign_headers=["x-amz-*"]).reason is Reason.HEADER_REFUSED
    assert sort((name, "arn"), service="chime", sign_headers=[name]).signed == ((name, "arn"),)


@each_case("name", ["x-amzn-oidc-data", "x-amzn-mtls-clientcert", "x-amzn-vpc-id"])
@each_case("service", ["execute-api", "aws-mcp"])
def test_what_load_balancers_write_about_a_user_is_withheld_and_counted(name, service):
    assert sort((name, "spoofed"), service=service) == ((), (name,), 1)


@each_case("name", [*sorted(FORWARDED_UNSIGNED), "x-amzless", "x-am", "accept", "x-amz", "range"])
def test_other_headers_are_forwarded_as_they_are(name):
    for service in ("s3", "aws-mcp"):
        assert sort((name, "é\t"), (name, "v"), service=service) == ((), (), 0)


def test_withheld_headers_are_removed_and_counted():
    found = sort(
        ("x-amz-meta-a", "1"), ("x-amz-meta-a", "2"), ("x-amz-meta-b", "3"), ("x-internal-a", "4"),
        withhold_headers=["x-amz-meta-*", "x-internal-a"],
    )  # fmt: skip
    assert found == ((), ("x-amz-meta-a", "x-amz-meta-b", "x-internal-a"), 3)


def test_a_refused_header_is_withheld_where_the_configuration_names_it():
    name = "x-http-method-override"
    assert sort((name, "DELETE"), withhold_headers=[name]) == ((), (name,), 1)
    assert refusal(("x-amz-signature", "v"), withhold_headers=["x-amz-*"]).reason is Reason.HEADER_REFUSED


def test_the_more_specific_pattern_takes_precedence():
    settings = {
        "withhold_headers": ["x-amz-*", "x-amz-meta-secret-*"],
        "sign_headers": ["x-amz-meta-*", "x-amz-acl"],
    }
    names = ["x-amz-target", "x-amz-meta-a", "x-amz-meta-secret-a", "x-amz-acl", "x-amz-acl-b"]
    found = sort(*((name, "v") for name in names), **settings)
    assert [name for name, _ in found.signed] == ["x-amz-meta-a", "x-amz-acl"]
    assert found.removed == ("x-amz-target", "x-amz-meta-secret-a", "x-amz-acl-b")


def test_a_strict_service_accepts_configured_headers():
    found = sort(("x-amz-meta-a", "1"), service="aws-mcp", sign_headers=["x-amz-meta-*"])
    assert found.signed == (("x-amz-meta-a", "1"),)
    assert refusal(("x-amz-acl", "1"), service="aws-mcp", sign_headers=["x-amz-meta-*"])


@pytest.mark.parametrize("name", ["x-amz-meta-a", "x-amzn-a", "content-type"])
def test_a_repeated_header_is_ambiguous(name):
    denied = refusal((name, "1"), (name, "1"))
    assert denied.reason is Reason.REQUEST_AMBIGUOUS
    assert name in denied.client_text


@each_case("value", ["a\tb", "\t", "a\x0bb", "a\x00", "a\x7f", "é", "a\u00a0b"])
@each_case("name", ["x-amz-meta-a", "content-type", "mcp-name"])
def test_a_value_that_signers_read_differently_is_refused_by_its_name(name, value):
    denied = refusal((name, value), sign_headers=["mcp-*"])
    assert denied.reason is Reason.REQUEST_AMBIGUOUS
    assert name in denied.client_text
    assert repr(value)[1:-1] not in denied.client_text


@each_case("value", ["", " ", "a  b", "  a  ", '"a  b"', "a,b", "a;b=c"])
def test_empty_values_and_spaces_are_signed_as_they_are_sent(value):
    assert sort(("x-amz-meta-a", value)).signed == (("x-amz-meta-a", value),)


NAMES = st.one_of(
    st.sampled_from(
        sorted(ALWAYS_REPLACED | REFUSED | FORWARDED_UNSIGNED) + S3_HEADERS + ["accept", "content-type"]
    ),
    st.from_regex(r"x-amzn?-[a-z0-9-]{1,12}", fullmatch=True),
    st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True),
)
PATTERNS = st.lists(
    st.one_of(NAMES, st.from_regex(r"x-amzn?-(?:[a-z]{0,3}-)?\*", fullmatch=True)), max_size=5
)


@given(names=st.lists(NAMES, max_size=8, unique=True), sign=PATTERNS, withhold=PATTERNS, strict=st.booleans())
def test_every_header_is_treated_once_and_no_replaced_or_refused_one_is_left(names, sign, withhold, strict):
    policy = HeaderPolicy(sign=sign, withhold=withhold, refuse_unknown=strict)
    try:
        found = policy.sort(head(*((name, "v") for name in names)))
    except Denied:
        assert Treatment.REFUSE in {policy.treatment(name) for name in names}
        return
    signed = [name for name, _ in found.signed]
    assert not set(signed) & set(found.removed)
    left = set(names) - set(found.removed)
    assert not left & (ALWAYS_REPLACED | REFUSED)
    # Whatever AWS may act upon is signed, or was changed by nobody on purpose.
    assert {name for name in left if name.startswith("x-amz-")} <= set(signed)


@pytest.mark.parametrize("service", ["aws-mcp", "bedrock-agentcore"])
def test_a_strict_profile_refuses_chunked_bodies(service):
    assert profile_of(service).strict
    assert profile_of(service).aws_chunked == "refuse"


def test_no_value_of_a_header_shows():
    assert "hunter2" not in repr(ClientHeaders((("x-a", "hunter2"),), ("x-b",), 1))
