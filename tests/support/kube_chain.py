"""The whole chain: the chart, ToolHive's objects and Envoy Gateway in a cluster without nodes.

The processes that pods would run are processes here, with the arguments and files of the chart's Deployments.
The demo's services are provider, STS and AWS.
"""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import urllib3
import yaml

from extproc.demo.ports import free_ports
from extproc.demo.settings import ADMIN_ROLE, DEVELOPER_ROLE, SIGNING_HOST
from support import forked, kube_gateway
from support.kube_cluster import PROGRAMS, ROOT, Controller, eventually
from support.stacks import Stack

NAMESPACE = "mcp"
_CERTIFICATES = Path("/certs")  # Envoy Gateway has no setting for that
REPLICAS = 3
ADMINS = {"claim": "admins", "roleArn": ADMIN_ROLE}
DEVELOPERS = {"matcher": '"developers" in claims.groups', "roleArn": DEVELOPER_ROLE}


def own_address():
    """Return an address of this machine: endpoints in a cluster may not be loopback. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


class Chain:
    """Attributes: ``stack``: the demo's services; ``controller``; ``servers``: processes by number."""

    def __init__(self, cluster, directory):
        self.cluster, self.directory = cluster, directory
        self.stack = Stack(directory)
        self.servers, self._cleanup = {}, contextlib.ExitStack()
        self._ports = free_ports(2 * REPLICAS)

    def __enter__(self):
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self.stack.stop)
            self.stack.start_services()
            self._start_envoy_gateway(cleanup)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_):
        self._cleanup.close()

    def _start_envoy_gateway(self, cleanup):
        at = self.stack.addresses
        cluster = {"type": "Kubernetes", "kubernetes": {"leaderElection": {"disable": True}}}
        command = kube_gateway.command(self.directory, cluster)
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "envoy-gateway-system"}}
        )
        certificates = self.directory / "gateway" / "config" / "certs" / "envoy-gateway"
        _CERTIFICATES.symlink_to(certificates)
        cleanup.callback(_CERTIFICATES.unlink)
        log = cleanup.enter_context((self.directory / "envoy-gateway.log").open("wb"))
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig("admin"))}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        cleanup.callback(process.wait)
        cleanup.callback(process.terminate)
        ports = (kube_gateway.port_of(at.envoy), kube_gateway.port_of(at.envoy_admin))
        self.cluster.apply(*kube_gateway.gateway_objects(*ports), self._patch())

    def _patch(self):
        """Lead AWS's host to the demo's upstream, as DNS would, and without TLS."""
        cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
        port = kube_gateway.port_of(self.stack.addresses.mcp)
        address = {"address": "127.0.0.1", "port_value": port}
        place = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address"
        changes = [
            {"op": "replace", "path": place, "value": address},
            {"op": "remove", "path": "/transport_socket_matches"},
            {"op": "remove", "path": "/transport_socket"},
            {"op": "remove", "path": "/typed_extension_protocol_options"},  # a choice in TLS
        ]
        patches = [
            {"type": cluster, "name": "httproute/mcp/extproc/rule/0", "operation": change}
            for change in changes
        ]
        target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": kube_gateway.GATEWAY}
        spec = {"targetRef": target, "type": "JSONPatch", "jsonPatches": patches}
        return kube_gateway.resource("gateway.envoyproxy.io/v1alpha1", "EnvoyPatchPolicy", "dns", spec)

    # What users do.

    def install(self):
        """Install the chart, and start what its Deployments would start."""
        values = {
            "image": {"repository": "registry.example.com/extproc"},
            "config": {"existingConfigMap": "aws-extproc"},
            "tls": {"enabled": False},
            "insecurePlaintext": True,
            "replicas": REPLICAS,
            "envoyGateway": {"admissionPolicy": True, "gateway": kube_gateway.GATEWAY},
            "controller": {
                "enabled": True,
                "settings": {"sts": {"endpoint_url": f"http://{self.stack.addresses.sts}"}},
            },
        }
        path = self.directory / "values.yaml"
        path.write_text(yaml.safe_dump(values))
        self.helm("install", kube_gateway.SERVICE, ROOT / "charts" / "extproc", "--values", path)
        self._cleanup.callback(self.helm, "uninstall", kube_gateway.SERVICE, "--ignore-not-found")
        self._start_controller()
        for number in range(REPLICAS):
            self.cluster.apply(self.endpoints(number))
        kubelet = threading.Thread(target=self._kubelet, daemon=True)
        self._ended = threading.Event()
        kubelet.start()
        self._cleanup.callback(kubelet.join)
        self._cleanup.callback(self._ended.set)

    def helm(self, *arguments):
        subprocess.run(
            [PROGRAMS / "helm", *map(str, arguments), "--namespace", NAMESPACE, "--kubeconfig", self.cluster.kubeconfig("admin")],
            check=True, capture_output=True,
        )  # fmt: skip

    def uninstall(self):
        self.helm("uninstall", kube_gateway.SERVICE)

    def apply_bundle(self, *mappings):
        """Apply ToolHive's objects as its users have them, with these role mappings."""
        self.cluster.apply(*bundle(self.stack.addresses, *mappings))

    def edit(self, *mappings):
        self.cluster.apply(bundle(self.stack.addresses, *mappings)[0])

    # What nodes do.

    def _start_controller(self):
        deployment = self.cluster.get("deployments", "extproc-controller")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        settings = self.directory / "controller.yaml"
        settings.write_text(self.cluster.get("configmaps", "extproc-controller")["data"]["settings.yaml"])
        arguments = [
            f"--settings={settings}" if each.startswith("--settings=") else each
            for each in container["args"]
            if not each.startswith("--probes=")
        ]
        self.controller = Controller(self.cluster, arguments=arguments[1:])
        self._cleanup.callback(self.controller.stop)

    def endpoints(self, number):
        endpoints = [{"addresses": [own_address()], "conditions": {"ready": True}}]
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"extproc-{number}",
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": kube_gateway.SERVICE},
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "grpc", "port": self._ports[number], "protocol": "TCP"}],
        }

    def _kubelet(self):
        """Start servers once their ConfigMap is there, and keep their copies of it up to date."""
        url = f"{self.cluster.url}/api/v1/namespaces/{NAMESPACE}/configmaps/aws-extproc"
        request = urllib.request.Request(url, headers={"Authorization": "Bearer admin-token"})
        while not self._ended.wait(0.5):
            with contextlib.suppress(OSError):
                unverified = ssl._create_unverified_context()
                with urllib.request.urlopen(request, timeout=10, context=unverified) as answer:
                    text = json.load(answer)["data"]["extproc.yaml"]
                for number in range(REPLICAS):
                    self._run(number, text)

    def _run(self, number, text):
        settings = yaml.safe_load(text)
        grpc, admin = self._ports[number], self._ports[REPLICAS + number]
        settings["listen"] |= {"grpc": f"{own_address()}:{grpc}", "admin": f"127.0.0.1:{admin}"}
        settings["listen"]["admin_grpc"] = f"unix:{self.directory}/admin-{number}.sock"
        path = self.directory / f"server-{number}.yaml"
        content = yaml.safe_dump(settings)
        if not path.exists() or path.read_text() != content:
            temporary = path.with_suffix(".new")
            temporary.write_text(content)
            temporary.rename(path)
        if number not in self.servers:
            command = ["-m", "extproc", "serve", "--config", str(path)]
            self.servers[number] = forked.Process(command, path.with_suffix(".log"))
            self._cleanup.callback(self._stop, self.servers[number])

    @staticmethod
    def _stop(server):
        server.kill()
        server.wait()

    # What clients see.

    def ask(self, account="demo-admin", *, path="/echo", body=b"{}"):
        """Return the status of a request; None if there is no answer."""
        url = f"http://{self.stack.addresses.envoy}{path}"
        headers = {"Authorization": f"Bearer {self.stack.token(account)}"}
        try:
            return self.stack.http.request("POST", url, body=body, headers=headers).status
        except urllib3.exceptions.HTTPError:
            return None

    def stats(self):
        return self.stack.control("mcp", "stats")

    @contextlib.contextmanager
    def load(self, threads=4):
        """Send requests without a pause; the value counts statuses."""
        counts, ended = {}, threading.Event()
        token = self.stack.token("demo-admin")
        url = f"http://{self.stack.addresses.envoy}/echo"

        def send():
            with urllib3.PoolManager(retries=False, timeout=20.0) as http:
                while not ended.is_set():
                    try:
                        answer = http.request(
                            "POST", url, body=b"{}", headers={"Authorization": f"Bearer {token}"}
                        )
                        status = answer.status
                    except urllib3.exceptions.HTTPError:
                        status = None
                    counts[status] = counts.get(status, 0) + 1  # a lost count is no matter
                    time.sleep(0.01)

        workers = [threading.Thread(target=send) for _ in range(threads)]
        for each in workers:
            each.start()
        try:
            yield counts
        finally:
            ended.set()
            for each in workers:
                each.join()

    def conditions(self):
        found = (self.cluster.get("mcpremoteproxies", "aws") or {}).get("status", {}).get("conditions", [])
        return {each["type"]: each for each in found}

    def wait_for(self, status, account="demo-admin", *, seconds=60):
        """Wait until requests of an account get a status; return the seconds that it took."""
        started = time.monotonic()
        eventually(lambda: self.ask(account) == status, seconds=seconds)
        return time.monotonic() - started


def bundle(addresses, *mappings):
    """Return an ``MCPExternalAuthConfig`` with its ``MCPOIDCConfig`` and ``MCPRemoteProxy``."""
    mappings = [{**each, "priority": at + 1} for at, each in enumerate(mappings)]
    reference = {"name": "idp", "audience": addresses.resource}
    return [
        _toolhive("MCPExternalAuthConfig", "aws", {
            "type": "awsSts",
            "awsSts": {"region": "us-east-1", "roleMappings": mappings},
        }),
        _toolhive("MCPOIDCConfig", "idp", {
            "type": "inline",
            "inline": {"issuer": addresses.issuer, "insecureAllowHTTP": True},
        }),
        _toolhive("MCPRemoteProxy", "aws", {
            "remoteUrl": f"https://{SIGNING_HOST}/mcp",
            "externalAuthConfigRef": {"name": "aws"},
            "oidcConfigRef": reference,
        }, {"extproc/enabled": "true", "extproc/gateway": kube_gateway.GATEWAY}),
    ]  # fmt: skip


def _toolhive(kind, name, spec, annotations=None):
    return {
        "apiVersion": "toolhive.stacklok.dev/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations or {}},
        "spec": spec,
    }
