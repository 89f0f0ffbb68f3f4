"""Unmodified AWS clients of Bedrock: a bearer token and an endpoint in the environment, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from support.aws_double import Answer, event

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-haiku-20240307-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "Grüße, 1+1?"}]}]
SAID = {"output": {"message": {"role": "assistant", "content": [{"text": "2"}]}}, "stopReason": "end_turn"}
STREAM = [
    event("messageStart", {"role": "assistant"}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "2"}}),
    event("messageStop", {"stopReason": "end_turn"}),
]


@pytest.fixture
def bedrock(aws_gateway, monkeypatch, tmp_path):
    """The gateway, with the environment that the documentation asks for."""
    environment = aws_gateway.environment(
        tmp_path,
        AWS_BEARER_TOKEN_BEDROCK=aws_gateway.token(),
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=aws_gateway.url("bedrock-runtime"),
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    aws_gateway.upstream.arrived.clear()
    aws_gateway.upstream.answers = {
        "/converse": Answer(200, "application/json", [json.dumps(SAID).encode()]),
        "/invoke": Answer(200, "application/json", [b'{"completion": "2"}']),
        "/converse-stream": Answer(200, "application/vnd.amazon.eventstream", STREAM),
        "/invoke-with-response-stream": Answer(
            200, "application/vnd.amazon.eventstream", [event("chunk", {"bytes": "eyJhIjogMX0="})] * 3
        ),
    }
    return aws_gateway


def verified(gateway):
    assert [(one.code, one.message) for one in gateway.upstream.arrived] == [(None, "")]
    (one,) = gateway.upstream.arrived
    assert not any(b"Bearer" in value for value in one.request.values("authorization"))
    return one.request


@pytest.mark.parametrize("model", [MODEL, PROFILE])
def test_boto3_converses(bedrock, model):
    answer = boto3.client("bedrock-runtime").converse(modelId=model, messages=MESSAGES)
    assert answer["output"] == SAID["output"]
    request = verified(bedrock)
    assert json.loads(request.body) == {"messages": MESSAGES}


def test_boto3_invokes_a_model(bedrock):
    answer = boto3.client("bedrock-runtime").invoke_model(modelId=MODEL, body=b'{"prompt": "1+1?"}')
    assert answer["body"].read() == b'{"completion": "2"}'
    assert verified(bedrock).body == b'{"prompt": "1+1?"}'


def test_boto3_gets_a_streamed_answer_event_by_event(bedrock):
    client = boto3.client("bedrock-runtime", config=Config(read_timeout=20))
    bedrock.upstream.go_on.clear()
    try:
        stream = iter(client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"])
        # The second event is not sent before the first has arrived.
        assert next(stream) == {"messageStart": {"role": "assistant"}}
    finally:
        bedrock.upstream.go_on.set()
    assert [next(iter(one)) for one in stream] == ["contentBlockDelta", "messageStop"]
    verified(bedrock)


def test_boto3_gets_a_streamed_invocation(bedrock):
    answer = boto3.client("bedrock-runtime").invoke_model_with_response_stream(modelId=MODEL, body=b"{}")
    assert [one["chunk"]["bytes"] for one in answer["body"]] == [b'{"a": 1}'] * 3
    verified(bedrock)


def aws(*arguments):
    command = [sys.executable, "-m", "awscli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_aws_cli_converses(bedrock):
    done = aws("bedrock-runtime", "converse", "--model-id", MODEL, "--messages", json.dumps(MESSAGES))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == SAID["output"]
    assert json.loads(verified(bedrock).body) == {"messages": MESSAGES}


@pytest.mark.long  # a process of the AWS CLI; in the gate the other one converses
def test_the_aws_cli_invokes_a_model(bedrock, tmp_path):
    out = tmp_path / "out.json"
    done = aws(
        "bedrock-runtime", "invoke-model", "--model-id", MODEL, "--body", '{"prompt": "1+1?"}', str(out)
    )
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == b'{"completion": "2"}'
    assert verified(bedrock).body == b'{"prompt": "1+1?"}'


def test_without_a_token_the_client_signs_and_is_told_so(bedrock, monkeypatch):
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(ClientError) as refused:
        boto3.client("bedrock-runtime").converse(modelId=MODEL, messages=MESSAGES)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401
    assert bedrock.upstream.arrived == []


def test_an_expired_or_foreign_token_never_reaches_the_upstream(bedrock, monkeypatch):
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "ABSKnot-a-jwt")
    with pytest.raises(ClientError) as refused:
        boto3.client("bedrock-runtime").converse(modelId=MODEL, messages=MESSAGES)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401
    assert bedrock.upstream.arrived == []


def test_the_documented_environment_is_what_is_tested():
    page = (Path(__file__).parents[2] / "docs" / "clients-aws.md").read_text()
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_CA_BUNDLE"):
        assert f"export {name}=" in page
