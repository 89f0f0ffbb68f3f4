"""The JSON Schema accepts what extproc accepts, refuses what is broken, and describes every setting."""

import copy
import runpy
from pathlib import Path

import jsonschema
import pytest
import yaml

from extproc import config
from extproc.schema.json_schema import schema
from extproc.schema.texts import texts

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "envoy").glob("*/extproc.yaml"))
MODELINE = "# yaml-language-server: $schema=../../docs/extproc.schema.json\n"
WHOLE = {
    "listen": {"grpc": "unix:/run/extproc.sock", "socket_mode": "0660", "admin": None},
    "resource": {"url": "https://mcp.example.com/mcp", "aliases": ["https://other.example.com/mcp"]},
    "issuers": [
        {"issuer": "https://idp.example.com/", "audiences": ["a"], "algorithms": ["RS256"], "leeway": 10}
    ],
    "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws", "prefix": "/aws", "max_wait": 1.5}],
    "role_mappings": [
        {"claim": "admins", "role_arn": "arn:aws:iam::123456789012:role/Admin", "priority": 1},
        {"matcher": "has(claims.act)", "effect": "deny", "message": "no agents"},
    ],
    "sts": {"timeout": 2, "workers": 4},
    "observe_upstream": True,
    "claims": {"groups": "list(string)"},
    "scopes": {"aws:*": ["aws:call"]},
}


@pytest.fixture(scope="module")
def document():
    return schema()


@pytest.fixture(scope="module")
def validator(document):
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def sections(document):
    return {"Settings": document, **document["$defs"]}


def test_every_setting_has_its_text_and_every_text_its_setting(document):
    settings = {name: set(section["properties"]) for name, section in sections(document).items()}
    assert {name: set(entries) for name, entries in texts().items()} == settings


def test_every_setting_has_a_description_a_valid_example_and_a_default_if_it_may_be_absent(
    document, validator
):
    for name, section in sections(document).items():
        for key, described in section["properties"].items():
            assert described["description"], (name, key)
            (example,) = described["examples"]
            validator.evolve(schema=described).validate(example)
            assert key in section.get("required", ()) or "default" in described, (name, key)


def test_every_number_has_a_unit(document):
    without = {("RoleMapping", "priority"), ("CeilingSettings", "priority"), ("Audit", "sample_allows")}
    without.add(("Mcp", "denied_status"))
    for name, section in sections(document).items():
        for key, described in section["properties"].items():
            kinds = {part.get("type") for part in (described, *described.get("anyOf", ()))}
            if kinds & {"integer", "number"} and (name, key) not in without:
                assert described.get("x-unit"), (name, key)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_examples_are_valid_and_name_the_schema(path, validator):
    text = path.read_text()
    assert text.startswith(MODELINE)
    validator.validate(yaml.safe_load(text))


def test_a_configuration_with_much_in_it_is_valid(validator):
    config.validate(copy.deepcopy(WHOLE))
    validator.validate(WHOLE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("issuers",), []),
        (("issuers",), None),
        (("role_mapping",), []),
        (("issuers", 0, "isuer"), "https://idp.example.com/"),
        (("issuers", 0, "issuer"), "idp.example.com"),
        (("issuers", 0, "issuer"), "https://idp.example.com/?tenant=1"),
        (("issuers", 0, "audiences"), "https://mcp.example.com/mcp"),
        (("issuers", 0, "algorithms"), ["HS256"]),
        (("issuers", 0, "leeway"), 121),
        (("issuers", 0, "leeway"), "30s"),
        (("resource", "url"), "ftp://mcp.example.com"),
        (("resource",), {}),
        (("targets", 0, "payload"), "sometimes"),
        (("targets", 0, "host"), "https://aws-mcp.us-east-1.api.aws"),
        (("targets", 0, "prefix"), "aws"),
        (("targets", 0, "max_wait"), 11),
        (("targets", 0, "protocol"), "h2c"),
        (("listen", "grpc"), "50051"),
        (("listen", "admin"), "unix:/run/admin.sock"),
        (("listen", "socket_mode"), 660),
        (("listen", "engine"), "fast"),
        (("role_mappings", 0, "role_arn"), "Admin"),
        (("role_mappings", 0, "matcher"), "true"),
        (("role_mappings", 1, "role_arn"), "arn:aws:iam::123456789012:role/Admin"),
        (("role_mappings", 0), {"claim": "admins"}),
        (("role_mappings", 0, "effect"), "maybe"),
        (("session_duration"), 60),
        (("sts", "timeout"), 0),
        (("sts", "workers"), 1.5),
        (("mcp",), {"denied_status": 403}),
        (("observe_upstream",), "often"),
        (("audit",), {"sample_allows": 2}),
        (("cache",), {"reuse": "yes"}),
    ],
)
def test_broken_ones_are_refused_by_the_schema_and_by_extproc(path, value, validator):
    broken = copy.deepcopy(WHOLE)
    *parents, last = (path,) if isinstance(path, str) else path
    place = broken
    for part in parents:
        place = place[part]
    place[last] = value
    assert not validator.is_valid(broken)
    with pytest.raises(config.ConfigError):
        config.validate(broken)


def test_the_documentation_made_from_code_is_up_to_date():
    made = runpy.run_path(str(ROOT / "docs" / "reference.py"))["files"]()
    for path, content in made.items():
        assert path.read_text() == content, f"{path.name} is out of date: make reference"
