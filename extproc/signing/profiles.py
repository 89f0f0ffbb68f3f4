"""Requirements of AWS services on signed requests, by signing name."""

from dataclasses import dataclass
from typing import Literal

AwsChunked = Literal["decode", "refuse"]


@dataclass(frozen=True, slots=True)
class Profile:
    """The known requirements of a service.

    Attributes:
        strict: whether to refuse ``x-amz-*`` headers that neither ``known`` nor the configuration has.
        known: headers, or patterns, that a strict service accepts.
        dropped: headers that a strict service does not use and that are harmless: withheld.
        needs: headers without which operations of the service fail or do something else.
        unsigned_payload: whether the service accepts ``UNSIGNED-PAYLOAD``.
        aws_chunked: the default treatment of ``aws-chunked`` bodies.
    """

    strict: bool = False
    known: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    unsigned_payload: bool = False
    aws_chunked: AwsChunked = "decode"


_AGENTCORE = (
    # https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-header-allowlist.html
    "x-amzn-bedrock-agentcore-payments-agent-name",
    "x-amzn-bedrock-agentcore-runtime-custom-*",
    "x-amzn-bedrock-agentcore-runtime-session-endpoint-url",
    "x-amzn-bedrock-agentcore-runtime-session-id",
    "x-amzn-browser-session-id",
    "x-amzn-code-interpreter-session-id",
)
_SDK = ("x-amz-user-agent",)  # written by AWS's SDK for JavaScript
_S3 = (
    "x-amz-acl", "x-amz-checksum-crc32", "x-amz-copy-source", "x-amz-meta-a", "x-amz-metadata-directive",
    "x-amz-object-attributes", "x-amz-sdk-checksum-algorithm", "x-amz-server-side-encryption",
    "x-amz-storage-class", "x-amz-tagging",
)  # fmt: skip

# Signing names of services whose operations are all named by ``x-amz-target`` (the protocols AWS JSON 1.0
# and 1.1, https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html): from botocore's models.
_JSON_PROTOCOL = frozenset(
    {
        "IoTSecuredTunneling", "acm", "airflow-serverless", "aoss", "application-autoscaling",
        "apprunner", "athena", "autoscaling-plans", "b2bi", "bcm-dashboards", "bcm-data-exports",
        "bcm-pricing-calculator", "bcm-recommended-actions", "billing", "budgets", "ce", "cloud9",
        "cloudcontrolapi", "cloudtrail", "codecommit", "codestar-connections", "cognito-identity",
        "cognito-idp", "config", "cost-optimization-hub", "cur", "datapipeline", "dax",
        "devicefarm", "discovery", "dms", "dynamodb", "ec2-instance-connect", "ecr", "ecr-public",
        "ecs", "elasticmapreduce", "events", "evs", "firehose", "forecast", "frauddetector",
        "freetier", "fsx", "globalaccelerator", "glue", "healthlake", "identitystore", "inspector",
        "invoicing", "iotfleetwise", "iotthingsgraph", "kendra", "kinesis", "kinesisanalytics",
        "kms", "license-manager", "lightsail", "logs", "lookoutequipment", "machinelearning",
        "marketplacecommerceanalytics", "mgh", "mturk-requester", "odb", "organizations", "osm",
        "partnercentral-account", "partnercentral-benefits", "partnercentral-channel",
        "partnercentral-selling", "payments", "pcs", "pricing", "proton", "redshift-data",
        "redshift-serverless", "rekognition", "route53-recovery-cluster", "route53resolver",
        "secretsmanager", "servicequotas", "sqs", "ssm", "ssm-contacts", "sso", "states",
        "storagegateway", "support", "swf", "timestream", "timestream-influxdb", "transfer",
        "verifiedpermissions", "voiceid", "waf", "waf-regional", "wafv2", "workmail",
    }
)  # fmt: skip

_STRICT = Profile(strict=True, dropped=_SDK, aws_chunked="refuse")
_OBJECTS = Profile(needs=_S3, unsigned_payload=True)
_ORDINARY = Profile()
_JSON = Profile(needs=("x-amz-target",))
_PROFILES = {
    "bedrock-agentcore": Profile(strict=True, known=_AGENTCORE, dropped=_SDK, aws_chunked="refuse"),
    "ecs-mcp": _STRICT,
    "eks-mcp": _STRICT,
    "aws-mcp": _STRICT,
    "lambda": Profile(needs=("x-amz-invocation-type",)),
    "s3": _OBJECTS,
    "s3express": _OBJECTS,
    "s3-object-lambda": _OBJECTS,
    "s3-outposts": _OBJECTS,
    "vpc-lattice-svcs": Profile(unsigned_payload=True),
}


def profile_of(service: str) -> Profile:
    """Return the profile of a signing name; an unknown one gets the profile of an ordinary AWS service."""
    return _PROFILES.get(service) or (_JSON if service in _JSON_PROTOCOL else _ORDINARY)
