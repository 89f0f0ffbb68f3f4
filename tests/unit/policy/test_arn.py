"""Which strings are ARNs of IAM roles."""

import pytest

from extproc.policy.arn import MAX_LENGTH, is_aws_endpoint, validate_any_role_arn, validate_role_arn
from support.tables import each_case


@each_case(
    "arn",
    [
        "arn:aws:iam::123456789012:role/Admin",
        "arn:aws-cn:iam::123456789012:role/Admin",
        "arn:aws-us-gov:iam::123456789012:role/Admin",
        "arn:aws-iso:iam::123456789012:role/Admin",
        "arn:aws-iso-b:iam::123456789012:role/Admin",
        "arn:aws-iso-e:iam::123456789012:role/Admin",
        "arn:aws-iso-f:iam::123456789012:role/Admin",
        "arn:aws-eusc:iam::123456789012:role/Admin",
        "arn:aws:iam::000000000000:role/R",
        "arn:aws:iam::123456789012:role/team/platform/On.Call+=,@_-",
        "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_x_0123456789abcdef",
        "arn:aws:iam::123456789012:role/" + "n" * 64,
    ],
)
def test_role_arns_of_every_partition_are_accepted(arn):
    assert validate_role_arn(arn) == arn
    assert validate_any_role_arn(arn) == arn


@each_case(
    "arn",
    [
        "arn:minio:iam:::role/nOybJqMNzNmroqEKq5D0EUsRZw0",
        "arn:minio:iam:eu-central-1::role/team/dummy-internal_1.0",
        "arn:aws:iam:::role/S3Access",  # Ceph without a tenant
        "arn:aws:iam::tenant$1:role/path/S3Access",
        "arn:aws:iam::RGW33567154695143645:role/S3Access",
        "arn:aws:iam::role/S3Admin",  # SeaweedFS
    ],
)
def test_role_arns_of_similar_services_are_accepted_where_any_is_allowed(arn):
    assert validate_any_role_arn(arn) == arn
    with pytest.raises(ValueError, match="not the ARN of an IAM role"):
        validate_role_arn(arn)


@each_case(
    ("url", "aws"),
    [
        ("https://sts.us-east-1.amazonaws.com", True),
        ("https://STS.us-east-1.AMAZONAWS.com.:443/", True),
        ("https://vpce-0a1b-2c3d.sts.us-east-1.vpce.amazonaws.com", True),
        ("https://sts.cn-north-1.amazonaws.com.cn", True),
        ("https://sts.eusc-de-east-1.amazonaws.eu", True),
        ("https://sts.us-east-1.api.aws", True),
        ("https://sts.us-iso-east-1.c2s.ic.gov", True),
        ("http://127.0.0.1:9000", False),
        ("https://minio.example.com/amazonaws.com", False),
        ("https://amazonaws.com.example.com", False),
        ("http://[::1]:9000", False),
    ],
)
def test_aws_endpoints_are_recognized(url, aws):
    assert is_aws_endpoint(url) is aws


@each_case(
    "arn",
    [
        "",
        "Admin",
        "arn:aws:iam::123456789012:user/Admin",
        "arn:aws:iam::123456789012:role",
        "arn:aws:iam::123456789012:role/",
        "arn:aws:iam::123456789012:role/team/",
        "arn:aws:iam::123456789012:role//Admin",
        "arn:aws:iam::123456789012:roles/Admin",
        "arn:aws:iam::12345678901:role/Admin",
        "arn:aws:iam::1234567890123:role/Admin",
        "arn:aws:iam::12345678901x:role/Admin",
        "arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/Admin",
        "arn:aws:iam:us-east-1:123456789012:role/Admin",
        "arn:aws:sts::123456789012:assumed-role/Admin/alice",
        "arn:aws:s3::123456789012:role/Admin",
        "arn:AWS:iam::123456789012:role/Admin",
        "arn:aws-:iam::123456789012:role/Admin",
        "arn:awsx:iam::123456789012:role/Admin",
        "arn:other:iam::123456789012:role/Admin",
        "ARN:aws:iam::123456789012:role/Admin",
        " arn:aws:iam::123456789012:role/Admin",
        "arn:aws:iam::123456789012:role/Admin\n",
        "arn:aws:iam::123456789012:role/Adm in",
        "arn:aws:iam::123456789012:role/te am/Admin",
        "arn:aws:iam::123456789012:role/Ädmin",
        "arn:aws:iam::123456789012:role/Admin*",
        "arn:aws:iam::123456789012:role/" + "n" * 65,
        "arn:aws:iam::123456789012:role/" + "p/" * MAX_LENGTH + "Admin",
    ],
)
def test_anything_else_is_refused(arn):
    with pytest.raises(ValueError, match="not the ARN of an IAM role"):
        validate_role_arn(arn)


@each_case(
    "arn",
    [
        "",
        "arn:aws:iam::role/x",  # shorter than any STS takes
        "arn:minio:iam:::user/alice-and-bob",
        "arn:minio:iam:::role/",
        "arn:minio:s3:::role/alice-and-bob",
        "arn:minio:iam:::role/al ice-and-bob",
        "arn:minio:iam:::role/alice\n-and-bob",
        "arn:minio:iam:::role/alice-and-bob\n",
        "arn:minio:iam:::role/Ädmin-and-bob",
        "arn:minio:iam::::role/alice-and-bob",
        "urn:minio:iam:::role/alice-and-bob",
        "arn:minio:iam:::role/" + "p/" * MAX_LENGTH + "Admin",
    ],
)
def test_other_arns_are_refused_even_where_any_role_is_allowed(arn):
    with pytest.raises(ValueError, match="not the ARN of an IAM role"):
        validate_any_role_arn(arn)
