"""Problems of a file end with their place in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc import config
from extproc.config import toolhive
from extproc.config.locations import _position, _root

WHOLE = """\
resource:
  url: https://mcp.example.com/mcp
issuers:
- issuer: https://idp.example.com/
  audiences: [https://mcp.example.com/mcp]
targets:
  - name: aws-mcp
    host: aws-mcp.us-east-1.api.aws
fallback_role_arn: arn:aws:iam::123456789012:role/All
"""


@pytest.mark.parametrize(
    ("old", "new", "problem", "place"),
    [
        ("fallback_role_arn:", "role_mapings: []\nfallback_role_arn:", "role_mapings: unknown key; did you mean 'role_mappings'?", "9:1"),
        ("  audiences:", "  audience: x\n  audiences:", "issuers[0].audience: unknown key; did you mean 'audiences'?", "5:3"),
        ("    host:", "    hots: x\n    host:", "targets[0].hots: unknown key; did you mean 'host'?", "8:5"),
        ("targets:", "cache: {marjin: 1}\ntargets:", "cache.marjin: unknown key; did you mean 'margin'?", "6:9"),
        ("targets:", "sts: {xyz: 1}\ntargets:", "sts.xyz: unknown key", "6:7"),
        ("[https://mcp.example.com/mcp]", "[a, 5]", "issuers[0].audiences[1]: Input should be a valid string", "5:18"),
        ("  - name: aws-mcp\n    host", "  - host", "targets[0].name: Field required", "7:5"),
        ("resource:\n  url: https://mcp.example.com/mcp\n", "", "resource: Field required", "1:1"),
        ("targets:", "issuers: []\ntargets:", "line 6: 'issuers' is set twice", "6:1"),
        ("targets:", "<<: {}\ntargets:", "line 6: merge keys (<<) are not supported", "6:1"),
        ("  url: h", "  url: [h", "line 3: not valid YAML: expected ',' or ']', but got ':'", "3:8"),
    ],
)  # fmt: skip
def test_a_problem_ends_with_file_line_and_column(tmp_path, old, new, problem, place):
    path = tmp_path / "extproc.yaml"
    path.write_text(WHOLE.replace(old, new, 1))
    for load in (config.load, lambda path: toolhive.load(path, toolhive.Supplement())):
        with pytest.raises(config.ConfigError) as refused:
            load(path)
        assert refused.value.problems == [f"{problem} ({path}:{place})"]


def test_a_health_check_names_the_place_too(tmp_path):
    path = tmp_path / "extproc.yaml"
    path.write_text("listen:\n  grcp: x\n")
    with pytest.raises(
        config.ConfigError, match=r"listen\.grcp: unknown key; did you mean 'grpc'\? \(.*:2:3\)$"
    ):
        config.load_listen(path)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_problem_of_any_text_has_a_place_in_it_or_none(text, problem):
    place = _position(_root(text), problem)
    if place is not None:
        assert 1 <= place.line <= len(text.splitlines()) + 2
        assert place.column >= 1
