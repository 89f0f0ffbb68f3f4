"""``extproc check`` warns of a target whose service would miss what it needs."""

import pytest
import yaml

from extproc import config
from support.tables import each_case

TARGETS = {
    "dynamodb": "dynamodb.us-east-1.amazonaws.com",
    "s3": "bucket.s3.us-east-1.amazonaws.com",
    "aws-mcp": "aws-mcp.us-east-1.api.aws",
}


def warned(service, **settings):
    target = {"name": "t", "host": TARGETS[service], "region": "us-east-1", "service": service, **settings}
    document = {
        "resource": {"url": "https://mcp.example.com/mcp"},
        "issuers": [{"issuer": "https://idp.example.com/", "audiences": ["https://mcp.example.com/mcp"]}],
        "targets": [target],
        "role_mappings": [{"claim": "admins", "role_arn": "arn:aws:iam::123456789012:role/Admin"}],
    }
    return config.warnings(config.parse(yaml.safe_dump(document)))


@pytest.mark.parametrize("service", TARGETS)
def test_a_target_that_fits_its_profile_gets_no_warning(service):
    assert warned(service) == []


@each_case(
    ("service", "settings", "says"),
    [
        ("dynamodb", {"withhold_headers": ["x-amz-*"]}, "withhold_headers: dynamodb needs x-amz-target"),
        ("s3", {"withhold_headers": ["x-amz-copy-source"]}, "withhold_headers: s3 needs x-amz-copy-source"),
        ("s3", {"aws_chunked": "refuse"}, "aws_chunked: AWS's SDKs and CLI send uploads"),
        ("aws-mcp", {"aws_chunked": "decode"}, "aws_chunked: aws-mcp accepts no uploads"),
        ("dynamodb", {"payload": "unsigned"}, "payload: dynamodb is not known to accept unsigned payloads"),
    ],
)
def test_a_setting_that_withholds_what_a_service_needs_is_a_warning(service, settings, says):
    assert [line for line in warned(service, **settings) if line.startswith(f"targets[0].{says}")]


def test_one_header_may_be_signed_where_all_others_are_withheld():
    assert warned("dynamodb", withhold_headers=["x-amz-*"], sign_headers=["x-amz-target"]) == []
