"""Envoy Gateway as a process of this machine, with the Envoy of this Python environment."""

import contextlib
import json
import subprocess

import yaml

from extproc.demo.ports import free_ports, is_taken
from extproc.demo.settings import SIGNING_HOST
from extproc.demo.stack import StackError, find_program
from support import forked
from support.kube_cluster import PROGRAMS, eventually
from support.stacks import Stack

# Envoy Gateway has no setting for these: one of it runs on a machine.
PORTS = {"xDS": 18000, "WebAssembly": 18002, "metrics": 8080, "probes": 8081}
CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
ENVOY = "1.40.0"  # any name: it is the folder of the program
GATEWAY, SERVICE, NAMESPACE = "mcp", "extproc", "mcp"


def command(directory, resources):
    """Return the command of an Envoy Gateway that reads ``resources``: its own section for that."""
    taken = [f"{port} ({use})" for use, port in PORTS.items() if is_taken(f"127.0.0.1:{port}")]
    assert not taken, f"Envoy Gateway's own ports are in use: {', '.join(taken)}"
    (admin,) = free_ports(1)
    home = directory / "gateway"
    program = home / "data" / "envoy-versions" / ENVOY / "bin" / "envoy"
    program.parent.mkdir(parents=True)
    program.symlink_to(find_program("envoy"))
    places = {
        "configHome": "config",
        "dataHome": "data",
        "stateHome": "state",
        "runtimeDir": "run",
    }
    config = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": CONTROLLER},
        "provider": {
            "type": "Custom",
            "custom": {
                "resource": resources,
                "infrastructure": {
                    "type": "Host",
                    "host": {name: str(home / place) for name, place in places.items()},
                },
            },
        },
        "admin": {"address": {"host": "127.0.0.1", "port": admin}},
        "telemetry": {"metrics": {"prometheus": {"disable": True}}},
        "extensionApis": {"enableBackend": True, "enableEnvoyPatchPolicy": True},
    }
    path = directory / "envoy-gateway.yaml"
    path.write_text(yaml.safe_dump(config))
    gateway = PROGRAMS / "envoy-gateway"
    subprocess.run(
        [gateway, "certgen", "--local", "--config-home", home / "config"], check=True, capture_output=True
    )
    return [gateway, "server", "--config-path", path]


def gateway_objects(port, admin):
    """Return the Gateway, which listens at ``port``, and what platform teams write for it once."""
    group, standard = "gateway.envoyproxy.io", "gateway.networking.k8s.io"
    patch = {"op": "replace", "path": "/admin/address/socket_address/port_value", "value": admin}
    proxy = {
        "provider": {"type": "Host", "host": {"envoyVersion": ENVOY}},
        "concurrency": 1,
        "bootstrap": {"type": "JSONPatch", "jsonPatches": [patch]},
    }
    parameters = {"group": group, "kind": "EnvoyProxy", "name": "host", "namespace": NAMESPACE}
    listener = {"name": "http", "protocol": "HTTP", "port": port}
    return [
        resource(f"{group}/v1alpha1", "EnvoyProxy", "host", proxy),
        {
            "apiVersion": f"{standard}/v1",
            "kind": "GatewayClass",
            "metadata": {"name": "envoy"},
            "spec": {"controllerName": CONTROLLER, "parametersRef": parameters},
        },
        resource(
            f"{standard}/v1", "Gateway", GATEWAY, {"gatewayClassName": "envoy", "listeners": [listener]}
        ),
    ]


def resource(version, kind, name, spec):
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def printed(config):
    """Return the resources that ``extproc envoy-gateway`` prints for a configuration."""
    names = ["--gateway", GATEWAY, "--service", SERVICE, "--namespace", NAMESPACE]
    found = forked.run(["-m", "extproc", "envoy-gateway", "--config", str(config), *names], 60)
    assert found.returncode == 0, found.stderr
    return list(yaml.safe_load_all(found.stdout))


class FileGateway(Stack):
    """The demo's stack with Envoy Gateway and what ``extproc envoy-gateway`` prints, in files.

    Without an API server there is no Service: a Backend has its place.
    """

    changed = False

    def wait_ready(self, name):
        """Wait longer than the demo would: Envoy Gateway starts an Envoy when it has read its resources."""
        for _ in range(3):
            with contextlib.suppress(StackError):
                return super().wait_ready(name)
        return super().wait_ready(name)

    def start_part(self, name):
        if name == "envoy":
            folder = self.directory / "resources"
            folder.mkdir()
            self._write(printed(self.directory / "extproc.yaml"))
            self._gateway = command(self.directory, {"type": "File", "file": {"paths": [str(folder)]}})
        super().start_part(name)

    def _command(self, name):
        return self._gateway if name == "envoy" else super()._command(name)

    def _write(self, objects):
        host, _, port = self.addresses.extproc.rpartition(":")
        endpoint = {"ip": {"address": host, "port": int(port)}}
        own = [
            *gateway_objects(port_of(self.addresses.envoy), port_of(self.addresses.envoy_admin)),
            resource("gateway.envoyproxy.io/v1alpha1", "Backend", SERVICE, {"endpoints": [endpoint]}),
        ]
        objects = [each for each in objects if "ValidatingAdmission" not in each["kind"]]
        for each in objects:
            for processor in each.get("spec", {}).get("extProc", []):
                (ref,) = processor["backendRefs"]
                ref.update(group="gateway.envoyproxy.io", kind="Backend")
        path = self.directory / "resources" / ".all.yaml"  # not read under this name
        path.write_text(yaml.safe_dump_all([*own, *objects]))
        path.rename(path.with_name("all.yaml"))

    def __enter__(self):
        super().__enter__()
        # Envoy is ready before it has its routes.
        eventually(lambda: SIGNING_HOST in self.envoy_config(), seconds=120)
        self._printed = self.envoy_config()
        return self

    def change(self, change, *, shows):
        """Write the printed resources after ``change``, and wait until Envoy's configuration ``shows`` it."""
        self.changed = True
        self._write(change(printed(self.directory / "extproc.yaml")))
        eventually(lambda: shows(self.envoy_config()), seconds=120)
        self.http.clear()  # open connections have the filters of before until they are drained

    def restore(self):
        """Write the printed resources, and wait until Envoy has what it had from them."""
        self.change(lambda objects: objects, shows=lambda text: text == self._printed)
        self.changed = False

    def envoy_config(self):
        """Return the configuration that Envoy uses, as text."""
        found = self.http.request("GET", f"http://{self.addresses.envoy_admin}/config_dump").json()
        return json.dumps([_in_use(each) for each in found["configs"]], sort_keys=True)

    def checked(self):
        """Return what ``extproc envoy --check`` finds in the running Envoy."""
        config = str(self.directory / "extproc.yaml")
        url = f"http://{self.addresses.envoy_admin}"
        return forked.run(["-m", "extproc", "envoy", "--config", config, "--check", url], 60)


def _in_use(config):
    """Return a configuration without times, and without listeners that wait for their last connections."""
    if isinstance(config, list):
        found = [_in_use(each) for each in config]
        return sorted(found, key=lambda each: each["name"]) if all(map(_is_named, found)) else found
    if isinstance(config, dict):
        left_out = ("last_updated", "version_info", "draining_state")
        return {name: _in_use(value) for name, value in config.items() if name not in left_out}
    return config


def _is_named(item):
    return isinstance(item, dict) and "name" in item


def port_of(address):
    return int(address.rpartition(":")[2])
