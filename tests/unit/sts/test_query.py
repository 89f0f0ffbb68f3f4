"""The Query protocol as botocore speaks it: endpoints, forms, answers and errors."""

import urllib.parse

import botocore.parsers
import botocore.serialize
import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from extproc.sts import query
from extproc.sts.answer import UnusableAnswerError

XMLNS = ' xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
RESULT = """<AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey> b </SecretAccessKey>
<SessionToken/></Credentials><AssumedRoleUser><Arn>arn</Arn></AssumedRoleUser><PackedPolicySize>6</PackedPolicySize>
</AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"""


@pytest.fixture(scope="module")
def session():
    return botocore.session.Session()


@pytest.fixture(scope="module")
def model(session):
    return session.get_service_model("sts")


def test_each_partition_has_the_endpoint_that_botocore_gives_it(session):
    partitions = session.get_component("data_loader").load_data("endpoints")["partitions"]
    regions = {region for partition in partitions for region in [*partition["regions"]][:2]}
    assert len(regions) >= 8
    for region in (*sorted(regions), "us-east-1", "xx-new-1"):
        client = session.create_client("sts", region_name=region, config=Config(signature_version=UNSIGNED))
        assert query.endpoint(region) == client.meta.endpoint_url
        client.close()


@given(
    token=st.text(max_size=30), policy=st.text(max_size=30), arns=st.lists(st.text(max_size=9), max_size=3)
)
def test_a_form_is_the_one_that_botocore_writes(model, token, policy, arns):
    operation = model.operation_model("AssumeRoleWithWebIdentity")
    parameters = {
        "RoleArn": "arn",
        "RoleSessionName": "a@b",
        "WebIdentityToken": token,
        "DurationSeconds": 900,
    }
    parameters |= {"Policy": policy}
    written = botocore.serialize.create_serializer("query", include_validation=False).serialize_to_request(
        {**parameters, "PolicyArns": [{"arn": arn} for arn in arns]}, operation
    )
    ours = query.form(operation.name, {**parameters, "PolicyArns": arns}).decode()
    fields = {name: str(value) for name, value in written["body"].items()}
    if not arns:
        del fields["PolicyArns"]  # an empty list; none is ever sent
    assert dict(urllib.parse.parse_qsl(ours, keep_blank_values=True, strict_parsing=True)) == fields
    assert written["headers"]["Content-Type"] == query.HEADERS["Content-Type"]


@pytest.mark.parametrize("namespace", [XMLNS, ""])
def test_a_result_is_the_one_that_botocore_reads(model, namespace):
    body = f"<AssumeRoleResponse{namespace}>{RESULT}</AssumeRoleResponse>".encode()
    shape = model.operation_model("AssumeRole").output_shape
    theirs = botocore.parsers.create_parser("query").parse(
        {"status_code": 200, "headers": {}, "body": body}, shape
    )
    ours = query.result("AssumeRole", body)
    assert ours["Credentials"] == theirs["Credentials"] == {
        "AccessKeyId": "A", "SecretAccessKey": " b ", "SessionToken": "",
    }  # fmt: skip
    assert ours["AssumedRoleUser"] == theirs["AssumedRoleUser"]


@pytest.mark.parametrize(
    "body",
    [
        f"<ErrorResponse{XMLNS}><Error><Type>Sender</Type><Code>C</Code><Message>m</Message></Error></ErrorResponse>",
        "<Response><Errors><Error><Code>C</Code><Message>m</Message></Error></Errors><RequestId>1</RequestId></Response>",
        "<ErrorResponse><Error><Code>C</Code></Error></ErrorResponse>",
        "<html><body>no</body></html>",
    ],
)
def test_an_error_is_the_one_that_botocore_reads(model, body):
    shape = model.operation_model("AssumeRole").output_shape
    answer = {"status_code": 400, "headers": {}, "body": body.encode()}
    theirs = botocore.parsers.create_parser("query").parse(answer, shape).get("Error", {})
    assert query.error(body.encode()) == (theirs.get("Code", ""), theirs.get("Message", ""))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<AssumeRoleResponse>",
        b"<html/>",
        b"<AssumeRoleResponse/>",
        f"<AssumeRoleWithWebIdentityResponse>{RESULT}</AssumeRoleWithWebIdentityResponse>".replace(
            "AssumeRoleResult", "AssumeRoleWithWebIdentityResult"
        ).encode(),
        f"<AssumeRoleResponse>{RESULT}{RESULT}</AssumeRoleResponse>".encode(),
        f"<AssumeRoleResponse>{RESULT.replace('<SessionToken/>', '<AccessKeyId>B</AccessKeyId>')}</AssumeRoleResponse>".encode(),
        f'<!DOCTYPE a [<!ENTITY b "b">]><AssumeRoleResponse>{RESULT}</AssumeRoleResponse>'.encode(),
    ],
)
def test_what_is_no_answer_to_the_call_or_says_two_things_is_refused(body):
    with pytest.raises(UnusableAnswerError):
        query.result("AssumeRole", body)
