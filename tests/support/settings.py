"""The least that a configuration needs, for tests that are about something else."""

from extproc.config import validate


def minimal_settings(**changes):
    return validate(
        {
            "resource": {"url": "https://mcp.example.com/mcp"},
            "issuers": [{"issuer": "https://idp.example.com/", "audiences": ["https://mcp.example.com/mcp"]}],
            "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
            **changes,
        }
    )
