"""MinIO and versitygw, the real ones, where `make object-stores` has built them."""

import base64
import contextlib
import datetime as dt
import hashlib
import os
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import urllib3

from extproc.demo.ports import free_ports
from support.served import served

DIRECTORY = Path(os.environ.get("OBJECT_STORES", Path(__file__).parents[2] / ".object-stores"))
KEYS = ("AKIAROOTEXAMPLE", "a-secret-of-at-least-forty-characters-0000")


def program(name):
    """A program's path, or None if it was not built."""
    found = DIRECTORY / name
    return str(found) if found.exists() else None


def minio_role(client_id):
    """The ARN that MinIO gives the role of its OpenID provider, from the client id."""
    digest = hashlib.sha1(client_id.encode()).digest()
    return f"arn:minio:iam:::role/{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


class Store:
    """A server that can be stopped and started again on its port, with its data or without."""

    def __init__(self, directory, port, command, environment, ready):
        self.url = f"http://127.0.0.1:{port}"
        self._directory = directory
        self._command = command
        self._environment = environment
        self._ready = ready
        self._process = None

    def start(self):
        with (self._directory / "store.log").open("ab") as log:
            environment = {"HOME": str(self._directory), "PATH": "/usr/bin:/bin", **self._environment}
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        tries = urllib3.Retry(
            total=200, connect=200, backoff_factor=0.1, backoff_max=0.1, status_forcelist=[503]
        )
        urllib3.PoolManager().request("GET", f"{self.url}{self._ready}", retries=tries)

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def log(self):
        return (self._directory / "store.log").read_text()


@contextlib.contextmanager
def minio(directory, *, addresses, port):
    """MinIO with the demo's identity provider; whoever it knows may read and write."""
    data = directory / "data"
    data.mkdir()
    environment = {
        "MINIO_ROOT_USER": KEYS[0],
        "MINIO_ROOT_PASSWORD": KEYS[1],
        "MINIO_IDENTITY_OPENID_CONFIG_URL": f"{addresses.issuer}/.well-known/openid-configuration",
        "MINIO_IDENTITY_OPENID_CLIENT_ID": addresses.resource,
        "MINIO_IDENTITY_OPENID_CLIENT_SECRET": "unused",
        "MINIO_IDENTITY_OPENID_ROLE_POLICY": "readwrite",
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    command = [program("minio"), "server", "--address", f"127.0.0.1:{port}", str(data)]
    store = Store(directory, port, command, environment, "/minio/health/ready")
    store.data = data
    try:
        store.start()
        yield store
    finally:
        store.stop()


@contextlib.contextmanager
def versitygw(directory):
    """The gateway over a directory."""
    (port,) = free_ports(1)
    (directory / "buckets").mkdir()
    command = [program("versitygw"), "--port", f"127.0.0.1:{port}", "--health", "/health",
               "posix", str(directory / "buckets")]  # fmt: skip
    environment = {"ROOT_ACCESS_KEY": KEYS[0], "ROOT_SECRET_KEY": KEYS[1], "VGW_REGION": "us-east-1"}
    store = Store(directory, port, command, environment, "/health")
    try:
        store.start()
        yield store
    finally:
        store.stop()


class _Sts(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        ends = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=900)).strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = (
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
            f"<AccessKeyId>{KEYS[0]}</AccessKeyId><SecretAccessKey>{KEYS[1]}</SecretAccessKey>"
            f"<SessionToken>unused</SessionToken><Expiration>{ends}</Expiration>"
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "text/xml")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def fixed_sts():
    """An STS that gives the store's own keys to everybody: versitygw has none."""
    with served(ThreadingHTTPServer(("127.0.0.1", 0), _Sts)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"
