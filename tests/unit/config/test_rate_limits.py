import pytest
from pydantic import ValidationError

from extproc.app.factories import build_rate_limits
from extproc.config import ConfigError
from extproc.config.document import parse
from extproc.config.rate_limits import RateLimitSettings
from extproc.fairness.token_buckets import Rate
from support.tables import each_case

DOCUMENT = """
resource: {url: https://mcp.example.com/mcp}
issuers: [{issuer: "https://idp.example.com/", audiences: [https://mcp.example.com/mcp]}]
targets: [{name: aws-mcp, host: aws-mcp.us-east-1.api.aws}]
fallback_role_arn: arn:aws:iam::123456789012:role/R
rate_limits: [%s]
"""


def limits(text):
    return build_rate_limits(parse(DOCUMENT % text))


def test_a_rate_and_its_defaults():
    (limit,) = limits("{rate: 30/minute}")
    assert (limit.name, limit.rate, limit.per) == ("rate_limits[0]", Rate(30, 60, 30), ())
    assert (limit.matcher, limit.targets) == (None, frozenset())


def test_everything_written_out():
    (limit,) = limits(
        "{name: n, rate: 5/hour, burst: 2, per: [subject, tool], targets: [aws-mcp], matcher: mcp.tool == 'x'}"
    )
    assert (limit.name, limit.rate, limit.per) == ("n", Rate(5, 3600, 2), ("subject", "tool"))
    assert limit.targets == {"aws-mcp"}
    assert limit.matcher.reads == {("mcp", "tool")}


def test_the_preset_is_aws_own_quota_and_a_third_of_it_for_a_user():
    account, subject = limits("{preset: aws-mcp}")
    assert (account.per, account.rate) == ((), Rate(3, 1, 9))
    assert (subject.per, subject.rate) == (("subject",), Rate(1, 1, 6))
    assert account.name != subject.name


def test_one_name_needs_no_list():
    assert limits("{rate: 1/second, per: subject}")[0].per == ("subject",)


@each_case(
    "wrong",
    [
        {},
        {"rate": "1/second", "preset": "aws-mcp"},
        {"preset": "aws-mcp", "burst": 3},
        {"rate": "0/second"},
        {"rate": "1/day"},
        {"rate": "1"},
        {"rate": "1/second", "per": ["subject", "subject"]},
        {"rate": "1/second", "per": "user"},
        {"rate": "1/second", "burst": 0},
        {"rate": "1/second", "matcher": "("},
    ],
)
def test_what_is_no_limit_is_refused(wrong):
    with pytest.raises(ValidationError):
        RateLimitSettings.model_validate(wrong)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{rate: 1/second, targets: [aws]}", "'aws' is not one of targets"),
        ("{rate: 1/second, name: a}, {rate: 2/second, name: a}", "is used twice"),
        ("{rate: 1/second, matcher: mcp.aws.servce == 'x'}", "rate_limits[0].matcher: CEL"),
    ],
)
def test_what_does_not_fit_the_rest_is_refused(text, problem):
    with pytest.raises(ConfigError) as error:
        parse(DOCUMENT % text)
    assert problem in str(error.value.problems)


@each_case(
    "valid",
    ["{until: 2027-01-01}", "{until: '2027-01-01T00:00:00'}", "{until: tomorrow}", "{}", "{until: 7}",
     "{from: 2027-01-01T00:00:00Z, until: 2027-01-01T00:00:00Z}", "{until: '2027-13-01T00:00:00Z'}"],
)  # fmt: skip
def test_a_time_without_a_zone_or_order_is_refused(valid):
    mapping = (
        f"role_mappings: [{{matcher: 'true', role_arn: 'arn:aws:iam::123456789012:role/R', valid: {valid}}}]"
    )
    with pytest.raises(ConfigError):
        parse(DOCUMENT % "" + mapping)


@pytest.mark.parametrize(
    "written", ["2027-01-01T00:00:00Z", "'2027-01-01T01:00:00+01:00'", "2027-01-01 00:00:00Z"]
)
def test_a_time_may_be_written_as_yaml_or_as_a_string(written):
    mapping = f"role_mappings: [{{matcher: 'true', role_arn: 'arn:aws:iam::123456789012:role/R', valid: {{until: {written}}}}}]"
    assert parse(DOCUMENT % "" + mapping).role_mappings[0].valid.ends_at == 1_798_761_600.0
