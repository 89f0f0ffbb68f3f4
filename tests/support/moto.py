"""moto, the emulator of AWS, as a process: with its own check of signatures and permissions, if asked for."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import urllib3
from botocore.config import Config

from extproc.demo.ports import free_ports
from extproc.demo.settings import ACCOUNT_ID
from support.aws_double import REGION
from support.aws_gateway import session

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
        return session().client(service, endpoint_url=self.url, config=Config(**options), **keys)

    def enforce(self, *, on):
        """Check every signature and permission from now on, or none."""
        body = b"0" if on else b"inf"
        assert self.http.request("POST", f"{self.url}/moto-api/reset-auth", body=body).status == 200

    def create_role(self, name):
        """A role that may do everything."""
        iam = self.client("iam")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=ALLOW_ALL)
        iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=ALLOW_ALL)


# Its modules take longer to load than all that is asked of it, so they are loaded once.
PROGRAM = """
import os, sys
from moto.server import main
first, *others = sys.argv[1:]
port = next((other for other in others if os.fork() == 0), first)
main(["-H", "127.0.0.1", "-p", port])
"""


@contextlib.contextmanager
def running(directory, count=1):
    """Run so many moto processes, each with state of its own, on free ports."""
    ports = free_ports(count)
    motos = [Moto(port) for port in ports]
    command = [sys.executable, "-c", PROGRAM, *map(str, ports)]
    with (directory / f"moto-{ports[0]}.log").open("wb") as log:
        environment = {"MOTO_ACCOUNT_ID": ACCOUNT_ID, "PATH": "", "AWS_DEFAULT_REGION": REGION}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, process_group=0)
    try:
        ready = urllib3.Retry(total=60, connect=60, backoff_factor=0.1, backoff_max=0.2)
        for moto in motos:
            moto.http.request("GET", f"{moto.url}/moto-api/", retries=ready)
        yield motos
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
