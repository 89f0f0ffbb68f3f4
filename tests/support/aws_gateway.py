"""The stack with AWS services as its targets, behind an HTTPS listener, as AWS clients need it."""

import contextlib
import functools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import yaml
from botocore.config import Config

from extproc.envoyconf.options import EnvoyOptions
from support.aws_double import REGION, AwsDouble, credentials_of, targets_yaml
from support.certificates import LOCAL, Authority
from support.stacks import Stack

CLIENTS = Path(__file__).parents[2] / "docs" / "clients"
sys.path.append(str(CLIENTS))
import gateway_bearer  # noqa: E402 - it is no package: users copy it


@functools.cache
def _service_models():
    """Return what reads the descriptions of services, once for all clients: they are megabytes of JSON."""
    return botocore.session.Session().get_component("data_loader")


def session():
    """Return a session of boto3 for the region of the double, without credentials."""
    core = botocore.session.Session()
    core.register_component("data_loader", _service_models())
    return boto3.Session(region_name=REGION, botocore_session=core)


@dataclass
class Gateway:
    """A running stack; ``upstream``: where its targets lead."""

    stack: Stack
    upstream: Any
    ca_file: str

    def url(self, service):
        return f"https://{self.stack.addresses.envoy}/{service}"

    def token(self, account="demo-admin"):
        return self.stack.token(account)

    def client(self, service, *, read_token=None, **config):
        """A boto3 client of a service, with the documented hook."""
        own = session()
        token = self.token() if read_token is None else ""
        gateway_bearer.use_token(own.events, read_token or (lambda: token))
        options = {"retries": {"total_max_attempts": 1}, "read_timeout": 20, **config}
        if service == "s3":
            options = {"s3": {"addressing_style": "path"}, **options}
        return own.client(
            service, endpoint_url=self.url(service), verify=self.ca_file, config=Config(**options)
        )

    def cli(self, directory, token):
        """The AWS CLI with the documented plugin: a function of a command line that returns what it prints."""
        (directory / "aws-config").write_text(
            "[default]\ns3 =\n  addressing_style = path\n[plugins]\ngateway = gateway_bearer\n"
        )
        (directory / "token").write_text(token + "\n")
        environment = self.environment(
            directory, GATEWAY_TOKEN_FILE=str(directory / "token"), PYTHONPATH=str(CLIENTS)
        )

        def run(service, *arguments):
            url = self.url("s3" if service == "s3api" else service)
            done = subprocess.run(
                [sys.executable, "-m", "awscli", service, *arguments, "--endpoint-url", url],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
                env=environment,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        return run

    def environment(self, directory, **more):
        """Environment variables of an AWS client that knows this gateway, and nothing of this machine."""
        return {
            "AWS_CA_BUNDLE": self.ca_file,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": str(directory / "aws-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(directory / "aws-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "HOME": str(directory),
            **more,
        }


@contextlib.contextmanager
def gateway(directory, upstream_url, *, sts_url=None, adjust=lambda text: text, kind=Stack):
    """A stack whose targets all lead to one address; ``kind``: its class."""

    def with_targets(text):
        settings = yaml.safe_load(text)
        settings["targets"] = yaml.safe_load(targets_yaml(upstream_url))["targets"]
        if sts_url is not None:
            settings["sts"]["endpoint_url"] = sts_url
        return adjust(yaml.safe_dump(settings))

    authority = Authority(directory, "ca")
    pair = authority.issue("localhost", *LOCAL)
    options = EnvoyOptions(tls_cert=str(pair.certificate), tls_key=str(pair.key))
    with kind(directory, adjust=with_targets, envoy_options=options) as stack:
        yield stack, str(authority.certificate)


@contextlib.contextmanager
def verifying_gateway(directory):
    """A gateway in front of the verifying double."""
    with AwsDouble(None) as double, gateway(directory, double.url) as (stack, ca_file):
        double.credentials = credentials_of(stack)
        yield Gateway(stack, double, ca_file)
