"""Several instances of the server behind one Envoy without affinity, which share a store."""

import collections

import yaml

from extproc.demo.ports import free_ports
from extproc.envoyconf.options import EnvoyOptions
from support import forked
from support.stacks import Stack
from support.supervised import until


class Replicas(Stack):
    """The stack with ``count`` instances; each has an admin API on a Unix socket ``admin-N.sock``."""

    def __init__(self, directory, count, shared):
        self._shared = shared
        self._ports = free_ports(2 * count)
        self.running = {}
        super().__init__(directory, adjust=self._settings, envoy_options=EnvoyOptions(affinity=False))

    def _settings(self, text):
        settings = yaml.safe_load(text)
        listen = settings.pop("listen")
        settings = {**settings, "cache": {"shared": self._shared}, "drain_delay_seconds": 1.0}
        settings["sts"]["timeout"] = 20.0  # on a busy machine: an attempt that is made again counts twice
        half = len(self._ports) // 2
        addresses = [f"127.0.0.1:{port}" for port in self._ports[:half]]
        for number, port in enumerate(self._ports[half:]):
            own = {
                "grpc": addresses[number],
                "admin": listen["admin"] if number == 0 else f"127.0.0.1:{port}",
                "admin_grpc": self.admin(number),
            }
            (self.directory / f"{number}.yaml").write_text(
                yaml.safe_dump({**settings, "listen": own, "audit": {"output": None}})
            )
        return yaml.safe_dump({**settings, "listen": {**listen, "grpc": addresses}})

    def admin(self, number):
        return f"unix:{self.directory}/admin-{number}.sock"

    def start_part(self, name):
        if name != "extproc":
            super().start_part(name)
            return
        for number in range(len(self._ports) // 2):
            self.start_replica(number)
        self.processes["extproc"] = self.running[0]

    def start_replica(self, number):
        config = str(self.directory / f"{number}.yaml")
        log = self.directory / f"extproc-{number}.log"
        arguments = ["-m", "extproc", "serve", "--config", config]
        self.running[number] = forked.Process(arguments, log)

    def stop_replica(self, number, *, kill=False):
        process = self.running[number]
        process.kill() if kill else process.send_signal(15)
        process.wait(30)

    def restart(self, number):
        """Restart one, and wait until Envoy has noticed both."""
        healthy = self.healthy()
        self.stop_replica(number)
        until(lambda: self.healthy() == healthy - 1, "Envoy has noticed the end")
        self.start_replica(number)
        until(lambda: self.healthy() == healthy, "it is back")

    def healthy(self):
        stats = self.http.request("GET", f"http://{self.addresses.envoy_admin}/stats").data.decode()
        [line] = [
            each for each in stats.splitlines() if each.startswith("cluster.extproc.membership_healthy:")
        ]
        return int(line.rpartition(" ")[2])

    def stop(self):
        super().stop()
        for process in self.running.values():
            process.kill()
            process.wait(30)

    def exchanges(self):
        """How often STS was asked for a role."""
        return self.control("sts", "stats")

    def store_metrics(self):
        """Sums over the living instances of what their metrics say about the store; zeros are left out."""
        sums = collections.Counter()
        for number, process in self.running.items():
            if process.poll() is None:
                port = self._ports[len(self._ports) // 2 + number]
                address = self.addresses.extproc_admin if number == 0 else f"127.0.0.1:{port}"
                answer = self.http.request("GET", f"http://{address}/metrics").data.decode()
                for line in answer.splitlines():
                    if line.startswith("extproc_shared_store_") and "_total" in line:
                        name, _, value = line.removeprefix("extproc_shared_store_").rpartition(" ")
                        sums[name] += float(value)
        return dict(+sums)

    def call_admin(self, number, *arguments):
        """Run ``extproc admin`` against one of them."""
        command = ["-m", "extproc", "admin", *arguments, "--address", self.admin(number)]
        return forked.run(command, 60)

    def ask(self, token):
        answer = self.http.request(
            "GET", f"http://{self.addresses.envoy}/echo", headers={"Authorization": f"Bearer {token}"}
        )
        return answer.status
