import json
from importlib.resources import files

import pytest

from extproc.policy import tools
from extproc.policy.cel import ExpressionError
from extproc.policy.inputs import Inputs
from extproc.policy.matchers import cel_matcher
from extproc.policy.mcp import parse_message
from extproc.policy.review import warnings
from extproc.policy.rules import Policy, Rule
from extproc.policy.types import findings
from extproc.values import Identity, RequestHead
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/R"
HEAD = RequestHead("POST", "/mcp", "mcp.example.com", (), has_body=True)


def call(tool, arguments, *, method="tools/call"):
    params = {"name": tool, "arguments": arguments}
    return parse_message(
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    ).variable(HEAD, with_tool=True)


def policy(matcher, role_arn=ROLE):
    return Policy(
        rules=[Rule("r", cel_matcher(matcher), role_arn, None)],
        fallback_role_arn=None if role_arn else ROLE,
        session_name_claim="sub",
        session_duration=900,
    )


def matches(matcher, mcp):
    identity = Identity("https://idp.example.com/", "alice", 2e9, {"sub": "alice"}, None)
    return policy(matcher).decide(identity, Inputs(mcp=mcp)).rule is not None


READS = 'mcp.aws.known && mcp.aws.service == "ec2" && mcp.aws.operation.startsWith("describe-")'


@each_case(
    ("tool", "arguments", "expected"),
    [
        ("aws___call_aws", {"cli_command": "aws --region x ec2 describe-instances"}, True),
        ("call_aws", {"cli_command": "aws ec2 describe-instances"}, True),
        ("aws___call_aws", {"cli_command": "aws --region x ec2 terminate-instances"}, False),
        ("aws___call_aws", {"cli_command": "aws ec2 describe-instances; aws iam list-users"}, False),
        ("aws___call_aws", {"cli_command": ["aws ec2 describe-instances"]}, False),
        ("aws___call_aws", {}, False),
        ("aws___call_aws", ["aws ec2 describe-instances"], False),
        ("aws___run_script", {"cli_command": "aws ec2 describe-instances"}, False),
        ("other", {"cli_command": "aws ec2 describe-instances"}, False),
        ("aws___list_regions", {}, False),
    ],
)
def test_a_role_for_operations_is_for_commands_that_are_understood(tool, arguments, expected):
    assert matches(READS, call(tool, arguments)) is expected


@each_case(
    ("tool", "expected"),
    [
        ("aws___call_aws", {"known": False}),
        ("aws___run_script", {"known": False}),
        ("another", {"known": False}),
        ("aws___search_documentation", None),
    ],
)
def test_a_tool_that_may_call_anything_has_an_unknown_operation(tool, expected):
    assert call(tool, {}).get("aws") == expected


def test_region_profile_and_endpoint_are_there_only_if_the_command_has_them():
    line = "aws s3 ls --region us-east-1 --profile p --endpoint-url http://x"
    assert call("aws___call_aws", {"cli_command": line})["aws"] == {
        "known": True,
        "service": "s3",
        "operation": "ls",
        "region": "us-east-1",
        "profile": "p",
        "endpoint_url": "http://x",
    }
    assert not matches("has(mcp.aws.region)", call("aws___call_aws", {"cli_command": "aws s3 ls"}))


def test_annotations_are_those_of_the_data_file():
    assert matches("mcp.tool_annotations.readOnlyHint", call("aws___read_documentation", {}))
    assert not matches("mcp.tool_annotations.readOnlyHint", call("aws___call_aws", {}))
    assert not matches("mcp.tool_annotations.readOnlyHint", call("unknown", {}))
    assert matches("!mcp.tool_annotations.known", call("unknown", {}))


def test_messages_without_a_tool_have_neither():
    message = call("aws___call_aws", {}, method="prompts/get")
    assert not tools.MEMBERS & set(message)


def test_only_rules_that_read_them_pay_for_them():
    assert policy("mcp.aws.known").reads_tool
    assert policy("mcp.tool_annotations.known").reads_tool
    assert not policy('mcp.tool == "x"').reads_tool
    assert not policy('request.path == "x"').reads_tool


def test_the_types_of_the_members_are_checked():
    assert findings("mcp.aws.servce == 'iam'", None) == [
        "column 1: mcp.aws.servce is not declared in claims; did you mean 'service'?"
    ]
    assert findings("mcp.aws.known == 'yes'", None)
    assert not findings(f"({READS}) || mcp.tool_annotations.destructiveHint", None)
    with pytest.raises(ExpressionError):
        cel_matcher("mcp.was.service == 'x'")


def test_a_restriction_that_forgets_unknown_commands_is_warned_of():
    text = "mapping r: does not apply to scripts and commands that are not understood; add !mcp.aws.known ||"
    assert text in list(warnings(policy('mcp.aws.service == "iam"', role_arn=None)))
    assert text not in list(warnings(policy('!mcp.aws.known || mcp.aws.service == "iam"', role_arn=None)))
    assert text not in list(warnings(policy('mcp.aws.service == "iam"')))


def test_every_tool_has_every_annotation():
    document = json.loads((files("extproc.policy") / "tools.json").read_bytes())
    for entry in document["tools"].values():
        assert sorted(entry["annotations"]) == sorted(tools.ANNOTATIONS)
