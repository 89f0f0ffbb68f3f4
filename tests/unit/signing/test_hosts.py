"""Region, signing name and payload mode inferred from AWS host names."""

from extproc.signing.hosts import default_payload, infer_scope
from extproc.signing.sigv4 import Scope
from support.tables import each_case


@each_case(
    ("host", "region", "service"),
    [
        ("aws-mcp.us-east-1.api.aws", "us-east-1", "aws-mcp"),
        ("aws-mcp.eu-central-1.api.aws", "eu-central-1", "aws-mcp"),
        ("aws-mcp.us-gov-west-1.api.aws", "us-gov-west-1", "aws-mcp"),
        ("eks-mcp.us-west-2.api.aws", "us-west-2", "eks-mcp"),
        ("ecs-mcp.ap-southeast-2.api.aws", "ap-southeast-2", "ecs-mcp"),
        ("bedrock-agentcore-control.us-east-1.api.aws", "us-east-1", "bedrock-agentcore"),
        ("bedrock-runtime.us-east-1.api.aws", "us-east-1", "bedrock"),
        ("email.us-east-1.api.aws", "us-east-1", "ses"),
        ("aos.us-east-1.api.aws", "us-east-1", "es"),
        ("athena.cn-north-1.api.amazonwebservices.com.cn", "cn-north-1", "athena"),
        ("athena.eusc-de-east-1.api.amazonwebservices.eu", "eusc-de-east-1", "athena"),
        ("bedrock-agentcore.us-west-2.amazonaws.com", "us-west-2", "bedrock-agentcore"),
        ("gw-1.gateway.bedrock-agentcore.us-west-2.amazonaws.com", "us-west-2", "bedrock-agentcore"),
        ("bedrock-agentcore.us-gov-east-1.amazonaws.com", "us-gov-east-1", "bedrock-agentcore"),
        ("a1b2c3.execute-api.us-east-1.amazonaws.com", "us-east-1", "execute-api"),
        ("a1b2c3.execute-api.cn-northwest-1.amazonaws.com.cn", "cn-northwest-1", "execute-api"),
        ("a1b2c3.execute-api.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", "execute-api"),
        ("a1b2c3-vpce-0123.execute-api.us-east-1.amazonaws.com", "us-east-1", "execute-api"),
        ("abcdef.lambda-url.ap-northeast-1.on.aws", "ap-northeast-1", "lambda"),
        ("svc-0f.7d67968.vpc-lattice-svcs.eu-west-1.on.aws", "eu-west-1", "vpc-lattice-svcs"),
    ],
)
def test_region_and_signing_name_are_inferred_from_aws_hosts(host, region, service):
    assert infer_scope(host) == Scope(region, service)


@each_case(
    "host",
    [
        "vpce-0123-abc.execute-api.us-east-1.vpce.amazonaws.com",
        "vpce-0123-abc.bedrock-agentcore.us-east-1.vpce.amazonaws.com",
        "execute-api.us-east-1.amazonaws.com",
        "a.b.execute-api.us-east-1.amazonaws.com",
        "lambda-url.us-east-1.on.aws",
        "a1.lambda-url.us-east-1.on.aws.evil.test",
        "vpc-lattice-svcs.us-east-1.on.aws",
        "a1.execute-api.us-east-1.amazonaws.com.evil",
        "aws-mcp.us-east-1.api.aws.cn",
        "-.us-east-1.api.aws",
        "mcp.internal",
    ],
)
def test_nothing_is_inferred_from_vpc_endpoints_private_names_and_lookalikes(host):
    assert infer_scope(host) is None


def test_only_vpc_lattice_requires_unsigned_payloads():
    assert default_payload("vpc-lattice-svcs") == "unsigned"
    assert {default_payload(name) for name in ("aws-mcp", "lambda", "execute-api", "s3")} == {"signed"}
