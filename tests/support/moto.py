"""moto, the emulator of AWS, as a process: with its own check of signatures and permissions, if asked for."""

import contextlib
import json
import subprocess
import sys

import boto3
import urllib3
from botocore.config import Config

from extproc.demo.ports import free_ports
from extproc.demo.settings import ACCOUNT_ID
from support.aws_double import REGION

ALLOW_ALL = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)


class Moto:
    """One server with state of its own; ``client`` reaches it without any gateway."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.http = urllib3.PoolManager(retries=False, timeout=10.0)

    def client(self, service, **config):
        keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret"}
        options = {
            "retries": {"total_max_attempts": 1},
            "read_timeout": 20,
            "parameter_validation": True,
            **config,
        }
        if service == "s3":
            options = {"s3": {"addressing_style": "path"}, **options}
        return boto3.Session(region_name=REGION).client(
            service, endpoint_url=self.url, config=Config(**options), **keys
        )

    def enforce(self, *, on):
        """Check every signature and permission from now on, or none."""
        body = b"0" if on else b"inf"
        assert self.http.request("POST", f"{self.url}/moto-api/reset-auth", body=body).status == 200

    def create_role(self, name):
        """A role that may do everything."""
        iam = self.client("iam")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=ALLOW_ALL)
        iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=ALLOW_ALL)


@contextlib.contextmanager
def running(directory):
    """A moto process on a free port."""
    (port,) = free_ports(1)
    moto = Moto(port)
    command = [
        sys.executable,
        "-c",
        "from moto.server import main; main()",
        "-H",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with (directory / f"moto-{port}.log").open("wb") as log:
        environment = {"MOTO_ACCOUNT_ID": ACCOUNT_ID, "PATH": "", "AWS_DEFAULT_REGION": REGION}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        ready = urllib3.Retry(total=60, connect=60, backoff_factor=0.1, backoff_max=0.2)
        moto.http.request("GET", f"{moto.url}/moto-api/", retries=ready)
        yield moto
    finally:
        process.terminate()
        process.wait()
