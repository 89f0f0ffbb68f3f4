"""``filter_tools_list``: what ``extproc check`` says of targets whose lists lose nothing."""

from extproc.config.document import parse
from extproc.config.lint import warnings

DOCUMENT = """
resource: {url: https://mcp.example.com/mcp}
issuers: [{issuer: "https://idp.example.com/", audiences: [https://mcp.example.com/mcp]}]
targets: [{name: aws-mcp, host: aws-mcp.us-east-1.api.aws, filter_tools_list: true%s}]
fallback_role_arn: arn:aws:iam::123456789012:role/R
role_mappings: [{name: never, effect: deny, matcher: '%s'}]
"""


def said(matcher, more=""):
    found = warnings(parse(DOCUMENT % (more, matcher)))
    return [line for line in found if "filter_tools_list" in line]


def test_rules_that_read_mcp_are_needed():
    assert said('mcp.tool == "x"') == []
    assert said('"x" in claims.groups') == [
        "targets[0].filter_tools_list: no rule reads mcp, so that no tool is left out"
    ]


def test_a_target_without_mcp_has_nothing_to_filter():
    assert said('mcp.tool == "x"', ", mcp: false") == [
        "targets[0].filter_tools_list: rules read no messages with mcp: false"
    ]
