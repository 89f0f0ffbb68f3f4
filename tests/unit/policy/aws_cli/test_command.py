import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from extproc.policy.aws_cli.command import AwsCommand, parse
from extproc.policy.aws_cli.table import commands
from extproc.policy.aws_cli.words import LONGEST, MOST_PARTS, split
from support.tables import each_case

FOLDER = Path(__file__).parent
RECORDED = [
    (json.loads(line), expected) for line, expected in json.loads((FOLDER / "recorded.json").read_text())
]
"""What awscli's own parsers read (tests/support/aws_cli.py)."""

OF_VERSION_2 = {
    "aws --cli-binary-format raw-in-base64-out lambda invoke --function-name f out.json",
    "aws configure sso",
    "aws sso login",
    "aws logs tail /aws/lambda/f",
    "aws ec2-instance-connect ssh --instance-id i-1",
}
"""Errors in version 1, of which the records are."""

UNDERSTOOD = 70  # of the recorded lines, but for those


def read(line):
    command = parse(line)
    return command and [command.service, command.operation, command.region, command.profile]


@each_case(("line", "expected"), RECORDED)
def test_a_command_means_what_the_cli_reads_or_is_unknown(line, expected):
    assert line in OF_VERSION_2 or read(line) in (expected, None)


def test_usual_commands_are_understood():
    understood = [line for line, expected in RECORDED if expected and read(line) == expected]
    assert len(understood) == UNDERSTOOD
    assert all(read(line) for line in OF_VERSION_2)


@each_case(
    "line",
    [
        "aws ec2 describe-instances | head",
        "aws ec2 describe-instances; aws iam list-users",
        "aws ec2 describe-instances && aws iam list-users",
        "aws ec2 describe-instances &",
        "aws ec2 describe-instances > file",
        "aws ec2 describe-instances $(id)",
        "aws ec2 describe-instances `id`",
        'aws ec2 describe-instances "`id`"',
        'aws ec2 describe-instances "$HOME"',
        "aws ec2 describe-instances\naws iam list-users",
        "aws ec2 describe-instances '\n'",
        "aws ec2 describe-instances 'a",
        'aws ec2 describe-instances "a',
        "aws ec2 describe-instances \\",
        "aws ec2 {describe,terminate}-instances",
        "aws ec2 describe-instances # --region x",
        "aws ec2 describe-instances \u2013\u2013region x",
        "aws ec2 describe-instances help",
        "aws ec2 describe-instances --version",
        "aws ec2 describe-instances --region a --region b",
        "aws ec2 describe-instances --region file://x",
        "aws ec2 describe-instances --region",
        "aws ec2 describe-instances --debug=1",
        "aws ec2 describe-instances -- --region a",
        "aws --no ec2 describe-instances",
        "aws ec2 describe-instances " + "a " * MOST_PARTS,
        "aws ec2 describe-instances " + "a" * LONGEST,
    ],
)
def test_whatever_has_a_second_reading_is_unknown(line):
    assert parse(line) is None


def test_an_endpoint_is_read():
    expected = AwsCommand("iam", "list-users", endpoint_url="https://example.com")
    assert parse("aws iam list-users --endpoint-url https://example.com") == expected


def test_quotes_and_backslashes_are_those_of_a_shell():
    assert split(r"""a'b c'"d\"\\\x"\e '' "" 'é`$'""") == ["a" + "b c" + 'd"\\\\x' + "e", "", "", "é`$"]
    assert split("") == []


@given(st.text(max_size=300) | st.text(alphabet="aws ec2-\"'\\$`=|;\t\n", max_size=300))
def test_no_line_raises(line):
    parse(line)
    parse(f"aws ec2 describe-instances {line}")


_OPTIONS = [
    ["--region", "us-east-1"],
    ["--region=us-east-1"],
    ["--reg", "us-east-1"],
    ["'--region'", '"us-east-1"'],
]


@given(
    service=st.sampled_from(sorted(commands())),
    option=st.sampled_from(_OPTIONS),
    others=st.lists(
        st.sampled_from(["--debug", "--output json", "--no-paginate", "--query 'a b'"]), unique=True
    ),
    place=st.integers(0, 6),
    data=st.data(),
)
def test_global_options_count_wherever_they_are(service, option, others, place, data):
    operation = data.draw(st.sampled_from(sorted(commands()[service])))
    parts = [*others[:1], service, *others[1:2], operation, *others[2:]]
    parts.insert(min(place, len(parts)), " ".join(option))
    assert parse("aws " + " ".join(parts)) == AwsCommand(service, operation, "us-east-1")
