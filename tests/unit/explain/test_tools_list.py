"""``extproc explain`` of a request whose response the server would filter."""

import json

from click.testing import CliRunner

from extproc.cli import main

CONFIG = """
resource: {url: https://mcp.example.com/mcp}
issuers: [{issuer: "https://idp.example.com/", audiences: [https://mcp.example.com/mcp]}]
targets: [{name: aws-mcp, host: aws-mcp.us-east-1.api.aws, filter_tools_list: true}]
fallback_role_arn: arn:aws:iam::123456789012:role/R
role_mappings: [{name: never, effect: deny, matcher: 'mcp.tool == "rm"'}]
rate_limits: [{name: few, rate: 1/minute, per: subject}, {name: others, rate: 1/minute, matcher: mcp.tool == "x"}]
"""


def test_a_request_for_a_list_is_decided_with_the_limits_that_count_it(tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "claims.json").write_text(json.dumps({"sub": "alice"}))
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    (tmp_path / "request.json").write_text(json.dumps({"path": "/mcp", "body": body}))
    names = {"--config": "c.yaml", "--claims": "claims.json", "--request": "request.json"}
    arguments = [part for name, file in names.items() for part in (name, str(tmp_path / file))]
    done = CliRunner().invoke(main, ["explain", *arguments])
    assert done.exit_code == 0, done.output
    assert "role/R" in done.output
    assert "rate limit few counts the request" in " ".join(done.output.split())
    assert "rate limit others" not in done.output
