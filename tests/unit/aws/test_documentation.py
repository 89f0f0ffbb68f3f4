"""The policies in docs/aws.md are those that the command prints for the configurations there."""

import json
import re
from pathlib import Path

import yaml

from extproc.aws.documents import inline_policies, trust_policy
from extproc.aws.requirements import accounts
from extproc.config.document import validate

TEXT = (Path(__file__).parents[3] / "docs/aws.md").read_text(encoding="utf-8")
BASE = {
    "resource": {"url": "https://mcp.example.com/mcp"},
    "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_documents_in_the_documentation_are_those_of_the_command():
    issuer, chain = (yaml.safe_load(block) for block in blocks("yaml")[:2])
    direct = validate({**BASE, **issuer, "fallback_role_arn": "arn:aws:iam::123456789012:role/Gateway"})
    chained = validate({**BASE, **issuer, **chain})
    trust, second, only, _ = (json.loads(block) for block in blocks("json"))
    ((role,),) = (account.roles for account in accounts(direct))
    assert trust_policy(role) == trust
    last = accounts(chained)[1].roles[0]
    assert trust_policy(last)["Statement"] == [second]
    assert inline_policies(last, only_through_mcp=True)["extproc-only-through-aws-mcp"]["Statement"] == [only]
