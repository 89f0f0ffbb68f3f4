"""A real Prometheus with the project's alert rules, for which a minute is a second."""

import contextlib
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import urllib3

from extproc.demo.ports import free_ports

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs/monitoring/alerts.yaml"
SPEED = 60
"""How many seconds of the rules' time pass in one of ours."""
INTERVAL = 1.0
"""Seconds between two scrapes, and two evaluations of the rules."""
INSTANCE = "extproc-1.example:9464"
_DURATION = re.compile(r"(?<=\[|\s)(\d+)m(?=\]|$)", re.MULTILINE)
_SECONDS = re.compile(r"\b(7200|86400)\b")


def fast_rules(text: str) -> str:
    """The rules with all that is time a sixtieth of what it was."""
    text = _DURATION.sub(r"\1s", text)
    return _SECONDS.sub(lambda found: str(int(found[1]) // SPEED), text)


class Prometheus:
    """A running Prometheus, which scrapes one address under the job ``extproc``."""

    def __init__(self, programs: Path, directory: Path, target: str):
        (self._port,) = free_ports(1)
        self._http = urllib3.PoolManager(retries=False, timeout=5.0)
        self._targets = directory / "targets.json"
        self._log = directory / "prometheus.log"
        self.follow(target)
        (directory / "alerts.yaml").write_text(fast_rules(RULES.read_text()))
        seconds = f"{INTERVAL * 1000:.0f}ms"
        configuration = {
            "global": {
                "scrape_interval": seconds, "scrape_timeout": seconds, "evaluation_interval": seconds,
            },
            "rule_files": [str(directory / "alerts.yaml")],
            "scrape_configs": [{"job_name": "extproc", "file_sd_configs": [{"files": [str(self._targets)]}]}],
        }  # fmt: skip
        (directory / "prometheus.yml").write_text(json.dumps(configuration))
        command = [
            str(programs / "prometheus"),
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def follow(self, target: str | None) -> None:
        """Scrape another address, or none."""
        groups = [{"targets": [target], "labels": {"instance": INSTANCE}}] if target else []
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(groups))
        fresh.replace(self._targets)

    def wait_ready(self) -> None:
        for _ in range(400):
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if self._http.request("GET", f"http://127.0.0.1:{self._port}/-/ready").status == 200:
                    return
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            time.sleep(0.05)
        raise AssertionError(self._log.read_text()[-2000:])

    def alerts(self) -> list[dict]:
        """The alerts that fire."""
        return [alert for alert in self._ask("alerts")["alerts"] if alert["state"] == "firing"]

    def firing(self) -> set[str]:
        """Their names."""
        return {alert["labels"]["alertname"] for alert in self.alerts()}

    def samples(self, names, *, seconds: float) -> list[dict]:
        """What was scraped of these metrics in the last seconds: labels and [time, value] pairs."""
        query = f'{{__name__=~"{"|".join(names)}"}}[{seconds:.0f}s]'
        return self._ask("query", query=query)["result"]

    def _ask(self, what: str, **fields: str):
        answer = self._http.request("GET", f"http://127.0.0.1:{self._port}/api/v1/{what}", fields=fields)
        assert answer.status == 200, answer.data
        return answer.json()["data"]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextlib.contextmanager
def prometheus(programs: Path, directory: Path, target: str):
    """Run one. ``programs``: the directory of the programs prometheus and promtool."""
    directory.mkdir()
    running = Prometheus(programs, directory, target)
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()
        shutil.rmtree(directory / "data", ignore_errors=True)
