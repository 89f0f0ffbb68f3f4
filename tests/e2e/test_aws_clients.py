"""boto3 and the AWS CLI with the documented hook, for services that know no bearer tokens."""

import json
from urllib.parse import parse_qs

import boto3
import gateway_bearer
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from support.aws_double import REGION, Answer


@pytest.fixture
def upstream(aws_gateway):
    aws_gateway.upstream.arrived.clear()
    aws_gateway.upstream.answers = {}
    return aws_gateway.upstream


def last(upstream):
    arrived = upstream.arrived[-1]
    assert arrived.code is None, arrived.message
    return arrived.request


def test_a_token_is_read_for_every_request(aws_gateway, upstream):
    tokens = [aws_gateway.token(account) for account in ("demo-admin", "demo-developer")]
    pending = list(tokens)
    client = aws_gateway.client("sqs", read_token=lambda: pending.pop(0) + "\n")
    upstream.answers = {"/": Answer(200, "application/x-amz-json-1.0", [b"{}"])}
    client.list_queues()
    client.list_queues()
    assert pending == []
    keys = [one.request.values("authorization")[0].split(b"/")[0] for one in upstream.arrived]
    assert len(set(keys)) == 2  # two people, two sets of credentials


def test_the_token_goes_over_https_only(aws_gateway):
    session = boto3.Session(region_name=REGION)
    gateway_bearer.use_token(session.events, lambda: pytest.fail("the token was read"))
    client = session.client(
        "sqs", endpoint_url="http://127.0.0.1:1", config=Config(retries={"total_max_attempts": 1})
    )
    with pytest.raises(ValueError, match="HTTPS only"):
        client.list_queues()


def test_nothing_can_be_presigned(aws_gateway):
    client = aws_gateway.client("s3")
    with pytest.raises(ValueError, match="cannot be presigned"):
        client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    with pytest.raises(ValueError, match="cannot be presigned"):
        aws_gateway.client("sqs").generate_presigned_url("list_queues")
    with pytest.raises(ValueError, match="cannot be presigned"):
        client.generate_presigned_post("b", "k")


def test_a_hook_on_one_client_leaves_the_others_alone(aws_gateway, upstream):
    session = boto3.Session(region_name=REGION)
    options = {"verify": aws_gateway.ca_file, "config": Config(retries={"total_max_attempts": 1})}
    client = session.client("sns", endpoint_url=aws_gateway.url("sns"), **options)
    token = aws_gateway.token()
    gateway_bearer.use_token(client.meta.events, lambda: token)
    upstream.answers = {
        "/": Answer(200, "text/xml", [b"<ListTopicsResponse><ListTopicsResult/></ListTopicsResponse>"])
    }
    client.list_topics()
    assert parse_qs(last(upstream).body) == {b"Action": [b"ListTopics"], b"Version": [b"2010-03-31"]}
    with pytest.raises(Exception, match="Unable to locate credentials"):
        session.client("sqs", endpoint_url=aws_gateway.url("sqs"), **options).list_queues()


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("s3", "list_buckets"),
        ("dynamodb", "list_tables"),
        ("sqs", "list_queues"),
        ("sns", "list_topics"),
        ("lambda", "list_functions"),
        ("bedrock", "list_foundation_models"),
    ],
)
def test_what_the_gateway_refuses_is_told_with_its_reason(aws_gateway, upstream, service, operation):
    client = aws_gateway.client(service, read_token=lambda: "no-token")
    with pytest.raises(ClientError, match=r"\(invalid_token\).*The access token is malformed") as refused:
        getattr(client, operation)()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401
    assert upstream.arrived == []


def test_errors_of_the_service_are_its_own(aws_gateway, upstream):
    told = b'{"__type": "com.amazonaws.dynamodb#ResourceNotFoundException", "message": "no such table"}'
    upstream.answers = {"/": Answer(400, "application/x-amz-json-1.0", [told])}
    with pytest.raises(ClientError, match=r"\(ResourceNotFoundException\).*: no such table$"):
        aws_gateway.client("dynamodb").describe_table(TableName="ttt")


@pytest.fixture
def aws(aws_gateway, tmp_path):
    return aws_gateway.cli(tmp_path, aws_gateway.token())


def test_the_cli_lists_tables(aws, upstream):
    upstream.answers = {"/": Answer(200, "application/x-amz-json-1.0", [b'{"TableNames": ["t"]}'])}
    assert json.loads(aws("dynamodb", "list-tables")) == {"TableNames": ["t"]}
    assert last(upstream).values("x-amz-target") == [b"DynamoDB_20120810.ListTables"]


def test_the_cli_copies_a_file_to_s3_as_it_is(aws, upstream, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 2000)
    aws("s3", "cp", str(file), "s3://bucket/a b/ü.bin")
    request = last(upstream)
    assert (request.method, request.raw_path) == ("PUT", b"/bucket/a%20b/%C3%BC.bin")
    assert request.body == file.read_bytes()
