"""Infer region, signing name and payload mode from AWS host names.

https://docs.aws.amazon.com/general/latest/gr/rande.html
Nothing can be inferred from a VPC endpoint's own name (``vpce-...``), a private name, or any other name
that is not listed here: such targets are configured with region and service.
"""

import re
from typing import Literal

from extproc.signing.sigv4 import Scope

REGION = r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}"
LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
"""Patterns of a region's name, and of a label of a host name in lower case."""

_REGION = rf"(?P<region>{REGION})"
# The DNS suffixes of the partitions: aws and aws-us-gov, aws-cn, aws-eusc.
_AMAZONAWS = r"(?:amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu)"
_API_AWS = r"(?:api\.aws|api\.amazonwebservices\.com\.cn|api\.amazonwebservices\.eu)"

# Patterns with their signing name; None: it is the host's first label, translated below.
_HOSTS = [
    (re.compile(rf"(?:{LABEL}\.)*bedrock-agentcore\.{_REGION}\.{_AMAZONAWS}"), "bedrock-agentcore"),
    (re.compile(rf"{LABEL}\.execute-api\.{_REGION}\.{_AMAZONAWS}"), "execute-api"),
    (re.compile(rf"{LABEL}\.lambda-url\.{_REGION}\.on\.aws"), "lambda"),
    (re.compile(rf"(?:{LABEL}\.)+vpc-lattice-svcs\.{_REGION}\.on\.aws"), "vpc-lattice-svcs"),
    (re.compile(rf"(?P<service>{LABEL})\.{_REGION}\.{_API_AWS}"), None),
]

# Services whose signing name is not the first label of ``<label>.<region>.api.aws``.
# From botocore's endpoint rules: every service with a dual-stack name.
_SIGNING_NAMES: dict[str, str] = {
    "account-access-runtime": "account-access", "agent-registry-control": "agent-registry",
    "agreement-marketplace": "aws-marketplace", "aos": "es", "appconfigdata": "appconfig",
    "appstream2": "appstream", "bedrock-agent": "bedrock", "bedrock-agent-runtime": "bedrock",
    "bedrock-agentcore-control": "bedrock-agentcore", "bedrock-data-automation": "bedrock",
    "bedrock-data-automation-runtime": "bedrock", "bedrock-runtime": "bedrock",
    "cassandra-streams": "cassandra", "cloudhsmv2": "cloudhsm", "cloudsearchdomain": "cloudsearch",
    "cloudwatch-omni": "cloudwatch", "contact-lens": "connect", "data-signer": "signer",
    "deployment-marketplace": "aws-marketplace", "discovery-marketplace": "aws-marketplace",
    "email": "ses", "entitlement-marketplace": "aws-marketplace", "eventsv2": "events",
    "forecastquery": "forecast", "iam-toolbox": "iam", "identity-chime": "chime", "ivsrealtime": "ivs",
    "mail-manager": "ses", "media-pipelines-chime": "chime", "meetings-chime": "chime",
    "memory-db": "memorydb", "messaging-chime": "chime", "metering-marketplace": "aws-marketplace",
    "migrationhub-config": "mgh", "models-v2-lex": "lex", "oidc": "sso-oauth",
    "partnercentral-prm": "partnercentral", "personalize-events": "personalize",
    "personalize-runtime": "personalize", "pinpoint": "mobiletargeting",
    "reporting-marketplace": "aws-marketplace", "runtime-v2-lex": "lex",
    "servicecatalog-appregistry": "servicecatalog", "voice-chime": "chime",
}  # fmt: skip


def infer_scope(host: str) -> Scope | None:
    """Return the region and signing name in an AWS host name; None if it does not have both."""
    for pattern, service in _HOSTS:
        match = pattern.fullmatch(host)
        if match:
            label = service or match["service"]
            return Scope(region=match["region"], service=_SIGNING_NAMES.get(label, label))
    return None


def default_payload(service: str) -> Literal["signed", "unsigned"]:
    """Return the payload mode that a service requires; "signed" for all without a documented exception.

    VPC Lattice does not support payload signing
    (https://docs.aws.amazon.com/vpc-lattice/latest/ug/sigv4-authenticated-requests.html).
    """
    return "unsigned" if service == "vpc-lattice-svcs" else "signed"
