"""``extproc serve`` as a process, with several workers."""

import contextlib
import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import jwt
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client.parser import text_string_to_metric_families

from support import forked

PATIENCE = 90.0  # seconds


def settings(directory: Path, *, grpc, admin, **more):
    """Write a configuration that needs no network; return its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    jwks = directory / "jwks.json"
    jwks.write_text(json.dumps({"keys": [{**public, "kid": "1", "use": "sig", "alg": "ES256"}]}))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    document = {
        "listen": {"grpc": grpc, "admin": admin, **more.pop("listen", {})},
        "resource": {"url": "https://mcp.example.com/mcp"},
        "issuers": [
            {
                "issuer": "https://idp.example.com/",
                "audiences": ["https://mcp.example.com/mcp"],
                "jwks_file": str(jwks),
            }
        ],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "role_mappings": [{"name": "all", "claim": "all", "role_arn": "arn:aws:iam::123456789012:role/All"}],
        "drain_delay_seconds": 0,
        **more,
    }
    path = directory / "extproc.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def token(directory: Path, subject: str) -> str:
    """Return a token for the configuration in the directory."""
    now = int(time.time())
    claims = {
        "iss": "https://idp.example.com/",
        "aud": "https://mcp.example.com/mcp",
        "sub": subject,
        "groups": ["all"],
        "iat": now,
        "exp": now + 600,
    }
    key = (directory / "key.pem").read_text()
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "1"})


def until(condition, what):
    """Wait until something becomes true."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return result


class Served:
    """A running ``extproc serve``."""

    def __init__(self, path: Path, *, admin: str, workers: int):
        self.admin = admin
        self._log = path.with_suffix(".log")
        command = ["-m", "extproc", "serve", "--config", str(path), "--workers", str(workers)]
        self.process = forked.Process(command, self._log)
        self._seen = set()

    @property
    def log(self):
        return self._log.read_text()

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            assert self.process.poll() is None, self.log
            return None, ""

    def wait_ready(self):
        until(lambda: self.get("/readyz") == (200, "ok\n"), self.log)

    def pids(self):
        """Return the process ids of running workers, by their numbers."""
        found = children(self.process.pid)
        self._seen.update(found.values())
        return found

    def metric(self, name):
        """Return a metric's values by worker, summed over all other labels."""
        values = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                if sample.name == name:
                    worker = int(sample.labels["worker"])
                    values[worker] = values.get(worker, 0.0) + sample.value
        return values

    def stop(self):
        if self.process.poll() is None:
            self.pids()
            self.process.kill()
            self.process.wait()
        for pid in self._seen:
            if alive(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """Return the process ids of all that a process has started."""
    try:
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return found + [each for child in found for each in descendants(child)]


def named(supervisor: int, prefix: str) -> dict[str, int]:
    """Return the process ids of a supervisor's running processes, by the rest of their names."""
    found = {}
    for pid in descendants(supervisor):
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name.startswith(prefix) and alive(pid):
                found[name.removeprefix(prefix)] = pid
    return found


def children(supervisor: int) -> dict[int, int]:
    """Return the process ids of a supervisor's running workers, by their numbers."""
    return {int(number): pid for number, pid in named(supervisor, "extproc-w").items()}


@contextlib.contextmanager
def serving(path: Path, *, admin: str, workers: int = 2):
    served = Served(path, admin=admin, workers=workers)
    try:
        yield served
    finally:
        served.stop()
