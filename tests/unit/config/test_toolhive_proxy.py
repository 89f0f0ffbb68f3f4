"""Whole bundles of ToolHive's resources."""

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/Admin"
V1BETA1 = "toolhive.stacklok.dev/v1beta1"


def item(kind, name, spec, *, version=V1BETA1, namespace="mcp"):
    metadata = {"name": name, "namespace": namespace, "resourceVersion": "7"}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": "Ready"},
    }


def auth(name="aws", **changes):
    sts = {"region": "eu-central-1", "fallbackRoleArn": ROLE, **changes}
    return item("MCPExternalAuthConfig", name, {"type": "awsSts", "awsSts": sts})


def proxy(name="proxy", *, to="aws", oidc="okta", **changes):
    spec = {
        "remoteUrl": "https://aws-mcp.eu-central-1.api.aws/mcp",
        "oidcConfigRef": {
            "name": oidc,
            "audience": "api://mcp",
            "scopes": ["openid"],
            "resourceUrl": "https://mcp.example.com/mcp",
        },
        "externalAuthConfigRef": {"name": to},
        "replicas": 2,
        **changes,
    }
    return item("MCPRemoteProxy", name, {key: value for key, value in spec.items() if value is not None})


def oidc(name="okta", **changes):
    inline = {"issuer": "https://idp.example.com/", "jwksAllowPrivateIP": False, **changes}
    return item("MCPOIDCConfig", name, {"type": "inline", "inline": inline})


def imported(*items, options=(), listed=True):
    text = (
        yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": list(items), "metadata": {}})
        if listed
        else yaml.safe_dump_all(items)
    )
    return CliRunner().invoke(main, ["import-toolhive", "-", *options], input=text)


@pytest.mark.parametrize("listed", [True, False])
def test_a_bundle_needs_no_options(listed):
    result = imported(proxy(), oidc(jwksUrl="https://idp.example.com/keys"), auth(), listed=listed)
    assert result.exit_code == 0, result.stderr
    document = yaml.safe_load(result.stdout)
    assert document["issuers"] == [
        {
            "issuer": "https://idp.example.com/",
            "audiences": ["api://mcp"],
            "jwks_uri": "https://idp.example.com/keys",
        }
    ]
    assert document["resource"] == {"url": "https://mcp.example.com/mcp"}
    assert document["targets"] == [
        {
            "name": "default",
            "host": "aws-mcp.eu-central-1.api.aws",
            "region": "eu-central-1",
            "service": "aws-mcp",
        }
    ]
    assert document["fallback_role_arn"] == ROLE


def test_a_bundle_is_a_configuration_itself(tmp_path):
    path = tmp_path / "bundle.yaml"
    path.write_text(yaml.safe_dump_all([proxy(), oidc(), auth()]))
    assert CliRunner().invoke(main, ["check", "--config", str(path)]).exit_code == 0


def test_the_older_form_has_the_issuer_within_the_proxy():
    inline = {"issuer": "https://idp.example.com/", "audience": "api://mcp", "insecureAllowHTTP": True}
    old = proxy(
        oidcConfigRef=None,
        oidcConfig={"type": "inline", "resourceUrl": "https://mcp.example.com/mcp", "inline": inline},
    )
    document = yaml.safe_load(imported(old, auth()).stdout)
    assert document["issuers"][0]["audiences"] == ["api://mcp"]
    assert document["issuers"][0]["allow_insecure_http"] is True
    assert document["resource"] == {"url": "https://mcp.example.com/mcp"}


def test_options_and_a_document_of_settings_come_first():
    options = ["--issuer", "https://other.example/", "--audience", "https://other.example/mcp"]
    document = yaml.safe_load(imported(proxy(), oidc(), auth(), options=options).stdout)
    assert document["issuers"] == [
        {"issuer": "https://other.example/", "audiences": ["https://other.example/mcp"]}
    ]
    assert document["targets"][0]["host"] == "aws-mcp.eu-central-1.api.aws"
    own = {"resource": {"url": "https://own.example/mcp"}}
    assert yaml.safe_load(imported(proxy(), oidc(), auth(), own).stdout)["resource"] == own["resource"]


def test_of_several_one_is_chosen_by_the_name_of_its_proxy_or_because_only_it_is_used():
    items = [proxy(to="two"), oidc(), auth("one"), auth("two", sessionDuration=900)]
    assert yaml.safe_load(imported(*items).stdout)["session_duration"] == 900
    items.append(proxy("other", to="one"))
    assert imported(*items).exit_code == 2
    chosen = imported(*items, options=["--name", "other"])
    assert "session_duration" not in yaml.safe_load(chosen.stdout)
    both = imported(proxy(), proxy("second"), oidc(), auth())
    assert both.stderr == "document: several proxies refer to aws; choose by --name one of: proxy, second\n"
    assert imported(proxy(), proxy("second"), oidc(), auth(), options=["--name", "second"]).exit_code == 0


def test_a_proxy_without_login_gives_only_the_target():
    options = ["--issuer", "https://idp.example.com/", "--audience", "https://mcp.example.com/mcp"]
    assert imported(proxy(oidcConfigRef=None), auth()).exit_code == 2
    assert imported(proxy(oidcConfigRef=None), auth(), options=options).exit_code == 0


@each_case(
    ("items", "line"),
    [
        ([proxy(toolConfigRef={"name": "few"}), oidc()], "MCPRemoteProxy proxy: spec.toolConfigRef: is not imported"),
        ([proxy(authzConfig={"type": "inline"}), oidc()], "spec.authzConfig: is not imported: write its rules as"),
        ([proxy()], "spec.oidcConfigRef: MCPOIDCConfig okta is not there: print it too"),
        ([proxy(), {**oidc(), "metadata": {"name": "okta", "namespace": "other"}}], "is not there"),
        ([proxy(), item("MCPOIDCConfig", "okta", {"type": "kubernetesServiceAccount"})], "only inline is imported"),
        ([proxy(remoteUrl="http://10.0.0.1/mcp"), oidc()], "spec.remoteUrl: must be https"),
        ([proxy(oidcConfigRef={"name": "okta"}), oidc()], "the audience of tokens is missing"),
        ([proxy(oidcConfigRef={"name": "okta", "audience": "api://x"}), oidc()], "resourceUrl is missing"),
        ([proxy(oidcConfigRef="okta"), oidc()], "is not there"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_refused_with_its_place(items, line):
    result = imported(*items, auth())
    assert (result.exit_code, result.stdout) == (2, "")
    assert line in result.stderr
