"""A real API server with its etcd, and the programs that talk to it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from support import kube_crds

PROGRAMS = Path(os.environ.get("KUBERNETES", Path(__file__).parents[2] / ".kubernetes"))
ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "charts" / "golden" / "gateway.yaml"
RIGHTS = (
    "Role",
    "RoleBinding",
    "ServiceAccount",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
ACCOUNT = "system:serviceaccount:mcp:extproc-controller"
_TOKENS = f"""\
admin-token,admin,1,system:masters
controller-token,{ACCOUNT},2,"system:serviceaccounts,system:serviceaccounts:mcp,system:authenticated"
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def eventually(found, *, seconds=30):
    """Return what ``found`` returns once that is true."""
    end = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {found.__name__}")
        time.sleep(0.2)


class Cluster:
    """An API server on loopback. ``directory`` has its data and logs."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self._etcd_port, self._port = free_port(), free_port()
        self._processes = {}

    def start(self):
        (self.directory / "tokens.csv").write_text(_TOKENS)
        subprocess.run(
            ["openssl", "genrsa", "-out", self.directory / "accounts.key", "2048"],
            check=True,
            capture_output=True,
        )
        peer = free_port()
        self._run(
            "etcd",
            "--data-dir", self.directory / "etcd", "--unsafe-no-fsync",
            "--listen-client-urls", f"http://127.0.0.1:{self._etcd_port}",
            "--advertise-client-urls", f"http://127.0.0.1:{self._etcd_port}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", f"default=http://127.0.0.1:{peer}",
        )  # fmt: skip
        for user in ("admin", "controller"):
            self._kubeconfig(user)
        self.start_api_server()
        return self

    def start_api_server(self):
        self._run(
            "kube-apiserver",
            "--etcd-servers", f"http://127.0.0.1:{self._etcd_port}",
            "--cert-dir", self.directory / "certificates",
            "--bind-address", "127.0.0.1", "--secure-port", self._port,
            # Loopback is refused here; nothing ever connects to it.
            "--advertise-address", "10.255.255.1", "--endpoint-reconciler-type", "none",
            "--authorization-mode", "RBAC", "--token-auth-file", self.directory / "tokens.csv",
            "--service-account-issuer", "https://cluster.example",
            "--service-account-signing-key-file", self.directory / "accounts.key",
            "--service-account-key-file", self.directory / "accounts.key",
            "--service-cluster-ip-range", "10.0.0.0/24",
        )  # fmt: skip
        eventually(lambda: self.kubectl("get", "--raw=/readyz", check=False).stdout == "ok", seconds=120)

    def kill_api_server(self):
        process = self._processes.pop("kube-apiserver")
        process.kill()
        process.wait()

    def stop(self):
        for process in reversed(list(self._processes.values())):
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()

    @property
    def url(self):
        return f"https://127.0.0.1:{self._port}"

    def kubeconfig(self, user):
        return self.directory / f"{user}.kubeconfig"

    def kubectl(self, *arguments, user="admin", text=None, check=True):
        found = subprocess.run(
            [PROGRAMS / "kubectl", "--kubeconfig", self.kubeconfig(user), "--cache-dir", self.directory / "cache", *map(str, arguments)],
            input=text, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if check and found.returncode:
            raise AssertionError(found.stderr)
        return found

    def apply(self, *objects, check=True):
        """Apply objects; strings are options."""
        options = [each for each in objects if isinstance(each, str)]
        text = yaml.safe_dump_all([each for each in objects if not isinstance(each, str)])
        command = ("apply", "--server-side", "--force-conflicts", *options, "-f", "-")
        return self.kubectl(*command, text=text, check=check)

    def get(self, kind, name=None, namespace="mcp"):
        """Return an object, or a list of objects; None if it is not there."""
        arguments = [kind, *([name] if name else []), "-n", namespace, "-o", "yaml", "--ignore-not-found"]
        found = yaml.safe_load(self.kubectl("get", *arguments).stdout)
        return found if name else found["items"]

    def _kubeconfig(self, user):
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{self._port}", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": f"{user}-token"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }  # fmt: skip
        self.kubeconfig(user).write_text(yaml.safe_dump(config))

    def _run(self, program, *arguments):
        with (self.directory / f"{program}.log").open("ab") as log:
            self._processes[program] = subprocess.Popen(
                [PROGRAMS / program, *map(str, arguments)], stdout=log, stderr=subprocess.STDOUT
            )


class Controller:
    """``extproc controller`` as a process, with the rights of the chart's service account."""

    def __init__(self, cluster, settings=None, *, name="controller", arguments=None):
        self.log = cluster.directory / f"{name}.log"
        self.probes = free_port()
        arguments = arguments or ["--namespace", "mcp", "--settings", settings]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "extproc", "controller", *arguments, "--kubeconfig", cluster.kubeconfig("controller"), "--probes", f"127.0.0.1:{self.probes}",
                ],
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def stop(self):
        self.process.terminate()
        return self.process.wait(20)


@contextlib.contextmanager
def running():
    with tempfile.TemporaryDirectory(prefix="extproc-kubernetes-") as directory:
        cluster = Cluster(directory)
        try:
            yield cluster.start()
        finally:
            cluster.stop()


def with_kinds(cluster):
    """Install ToolHive's and Envoy Gateway's kinds and a namespace."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mcp"}})
    cluster.apply(*kube_crds.toolhive("v1alpha1", "v1beta1"))
    for path in kube_crds.gateway_files():
        cluster.kubectl("apply", "--server-side", "-f", path)
    kinds = ("get", "mcpremoteproxies,gateways,httproutes,backends,envoypatchpolicies", "-A")
    eventually(lambda: cluster.kubectl(*kinds, check=False).returncode == 0)


def accept_policy(cluster):
    """Say that extproc's policy is accepted, as Envoy Gateway does."""
    policy = eventually(lambda: cluster.get("envoyextensionpolicies", "extproc"))
    condition = {
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": policy["metadata"]["generation"],
    }  # fmt: skip
    ancestor = {
        "ancestorRef": {"name": "mcp"},
        "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
        "conditions": [condition],
    }
    cluster.kubectl(
        "patch", "envoyextensionpolicies", "extproc", "-n", "mcp", "--subresource=status", "--type=merge",
        "-p", json.dumps({"status": {"ancestors": [ancestor]}}),
    )  # fmt: skip


def chart(*kinds):
    found = [each for each in yaml.safe_load_all(GOLDEN.read_text()) if each]
    return [each for each in found if each["kind"] in kinds]


def written(cluster):
    """Return the objects that a controller wrote and that are there."""
    kinds = "configmaps,httproutes,envoyextensionpolicies,clienttrafficpolicies,backendtrafficpolicies,backends,backendtlspolicies"
    found = cluster.kubectl(
        "get", kinds, "-n", "mcp", "-l", "app.kubernetes.io/managed-by=extproc-controller", "-o", "name"
    )
    return sorted(found.stdout.split())
