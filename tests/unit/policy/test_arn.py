"""Which texts are the ARN of an IAM role."""

import pytest

from extproc.policy.arn import MAX_LENGTH, validate_role_arn


@pytest.mark.parametrize(
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
def test_role_arns_of_every_partition_are_taken(arn):
    assert validate_role_arn(arn) == arn


@pytest.mark.parametrize(
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
