"""Work at moto, the emulator of AWS, which checks every signature and permission: by the gateway as directly."""

import functools
import json
from dataclasses import dataclass

import pytest

from support import aws_work
from support.aws_gateway import Gateway, gateway
from support.aws_work import Worker
from support.moto import Moto, running

PLAIN = {"request_checksum_calculation": "when_required"}
WORK = [
    ("s3", aws_work.buckets, {}),
    ("s3", aws_work.objects, {}),
    ("s3", functools.partial(aws_work.objects, bucket="plain", held="plain-held"), PLAIN),
    ("dynamodb", aws_work.tables, {}),
    ("sqs", aws_work.queues, {}),
    ("sns", aws_work.topics, {}),
    ("lambda", aws_work.functions, {}),
]


@dataclass
class Worlds:
    """The gateway with moto behind it, and another moto without one."""

    through: Gateway
    token: str
    behind: Moto
    direct: Moto

    def client(self, service, **config):
        return self.through.client(service, read_token=lambda: self.token, **config)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    directory = tmp_path_factory.mktemp("moto")
    with (
        running(directory, 2) as (behind, direct),
        gateway(directory, behind.url, sts_url=behind.url) as (stack, ca_file),
    ):
        for moto in (behind, direct):
            moto.create_role("DemoAdmin")
        made = Worlds(Gateway(stack, behind, ca_file), stack.token("demo-admin"), behind, direct)
        # moto's STS takes unsigned requests only while nothing is checked: exchange first.
        made.client("s3").list_buckets()
        behind.enforce(on=True)
        yield made


def _called(part):
    return getattr(part, "__name__", None) or ("plain" if part is PLAIN else "" if part == {} else None)


@pytest.mark.parametrize(("service", "work", "config"), WORK, ids=_called)
def test_work_comes_out_as_it_does_directly(worlds, service, work, config):
    through = Worker(worlds.client(service, **config))
    direct = Worker(worlds.direct.client(service, **config))
    work(direct)
    # moto 5.2 refuses Lambda's GET and DELETE although botocore signed them; test_aws_operations has them all.
    worlds.behind.enforce(on=service != "lambda")
    work(through)
    assert len(through.outcomes) == len(direct.outcomes)
    differences = [pair for pair in zip(through.outcomes, direct.outcomes, strict=True) if pair[0] != pair[1]]
    assert differences == []
    assert sum(outcome[1] < 300 for outcome in through.outcomes) > len(through.outcomes) * 2 / 3


@pytest.fixture
def aws(worlds, tmp_path):
    worlds.behind.enforce(on=True)
    return worlds.through.cli(tmp_path, worlds.token)


# A process of the AWS CLI for each command; in the gate test_aws_clients copies one file.
@pytest.mark.long
def test_the_cli_moves_files_to_s3_and_back(worlds, aws, tmp_path):
    worlds.client("s3").create_bucket(Bucket="cli")
    sources = tmp_path / "sources"
    sources.mkdir()
    for name, size in (("empty", 0), ("small", 5), ("larger than a part", 9 * 1024 * 1024)):
        (sources / name).write_bytes(b"12345678" * (size // 8) + b"x" * (size % 8))
    aws("s3", "sync", str(sources), "s3://cli/a b/")
    aws("s3", "cp", "s3://cli/a b/small", "s3://cli/copy")
    back = tmp_path / "back"
    aws("s3", "sync", "s3://cli/a b/", str(back))
    for source in sources.iterdir():
        assert (back / source.name).read_bytes() == source.read_bytes()
    assert "copy" in aws("s3", "ls", "s3://cli/")
    stored = worlds.client("s3").get_object(Bucket="cli", Key="a b/larger than a part")["Body"].read()
    assert stored == (sources / "larger than a part").read_bytes()
    aws("s3", "rm", "s3://cli/", "--recursive")
    assert aws("s3api", "list-objects-v2", "--bucket", "cli", "--query", "KeyCount").strip() in ("0", "null")


@pytest.mark.long  # a process of the AWS CLI for each command
def test_the_cli_works_with_tables_queues_and_topics(aws):
    aws(
        "dynamodb", "create-table", "--table-name", "cli", "--billing-mode", "PAY_PER_REQUEST",
        "--key-schema", "AttributeName=id,KeyType=HASH",
        "--attribute-definitions", "AttributeName=id,AttributeType=S",
    )  # fmt: skip
    aws("dynamodb", "put-item", "--table-name", "cli", "--item", '{"id": {"S": "grüße"}}')
    scanned = json.loads(aws("dynamodb", "scan", "--table-name", "cli"))
    assert scanned["Items"] == [{"id": {"S": "grüße"}}]
    url = json.loads(aws("sqs", "create-queue", "--queue-name", "cli"))["QueueUrl"]
    aws("sqs", "send-message", "--queue-url", url, "--message-body", "grüße & <x>")
    received = json.loads(aws("sqs", "receive-message", "--queue-url", url))
    assert received["Messages"][0]["Body"] == "grüße & <x>"
    arn = json.loads(aws("sns", "create-topic", "--name", "cli"))["TopicArn"]
    assert "MessageId" in json.loads(aws("sns", "publish", "--topic-arn", arn, "--message", "a=b&c"))
