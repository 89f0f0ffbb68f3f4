"""Each alert fires in a real Prometheus when the real server is broken in its way, and not before.

Prometheus gets the rules with a second for each minute. `make live-alerts` runs these tests; `make alert-series`
writes what was scraped down for promtool (tests/series), too.
"""

import concurrent.futures
import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
import yaml

from extproc.demo.ports import free_ports
from extproc.demo.settings import ADMIN_ROLE
from support import series, stores, supervised
from support.certificates import DAY, LOCAL, Authority
from support.envoys import further_envoy
from support.http import raw
from support.prometheus import RULES, prometheus
from support.stacks import PatchedStack
from support.streams import held

PROGRAMS = os.environ.get("PROMETHEUS")
RECORD = bool(os.environ.get("ALERT_SERIES"))
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        PROGRAMS is None, reason="make live-alerts runs these: they need Prometheus, and minutes"
    ),
    pytest.mark.timeout(400),
]
HEALTHY = 12.0  # seconds, which are minutes to the rules: more than most of them wait
SETTLED = 2.0  # seconds for which an alert fires before it counts
WITHIN = 200.0
ALERTS = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}


class Scene:
    """The stack with a user who goes on all the time, and what breaks it."""

    def __init__(self, stack, directory):
        self.stack = stack
        self.directory = directory
        self.metrics_address = stack.addresses.extproc_admin
        self.names = {stack.addresses.issuer: "https://idp.example"}
        self.prometheus = None
        self._users = itertools.count()
        self._token = stack.token("demo-admin", lifetime="86400")
        self._over = threading.Event()
        self._usual = threading.Thread(target=self._work, daemon=True)

    def start(self):
        self._usual.start()

    def stop(self):
        self._over.set()
        self._usual.join()

    def _work(self):
        while not self._over.wait(0.2):
            with contextlib.suppress(OSError):
                self.ask(self._token)

    def token(self, **parameters):
        return self.stack.token("demo-admin", **{"user": f"user-{next(self._users)}", **parameters})

    def ask(self, token, *, address=None, body=None):
        """The status of one request, "" if the connection ended before."""
        more = [f"Content-Length: {len(body)}"] if body is not None else []
        request = self.head("POST" if body else "GET", token, *more, "Connection: close") + (body or b"")
        return raw(address or self.stack.addresses.envoy, request)[9:12].decode()

    def at_once(self, tokens):
        with concurrent.futures.ThreadPoolExecutor(len(tokens)) as pool:
            return list(pool.map(self.ask, tokens))

    def head(self, method, token, *more):
        lines = [f"{method} /echo HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *more, "", ""]
        return "\r\n".join(lines).encode()

    def restart(self, part="extproc", *, patched="", ready=True):
        self.stack.stop_part(part)
        self.stack.patches[part] = patched
        self.stack.start_part(part)
        if ready:
            self.stack.wait_ready(part)

    def configure(self, change):
        """Change the configuration file, which is read again by itself."""
        path = self.directory / "extproc.yaml"
        document = yaml.safe_load(path.read_text())
        change(document)
        fresh = path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(document))
        fresh.replace(path)


class Broken:
    """One way to break the server: a generator function, each step of which breaks it some more."""

    def __init__(self, function, alerts, *, settings=None, target=None, workers=1, patched=None):
        self.function = function
        self.alerts = alerts
        self.settings = settings or {}
        self.target = target or {}  # settings of the first target
        self.workers = workers
        self.patched = patched  # the server's bug, which shows once a file "broken" is there

    def adjust(self, text):
        document = yaml.safe_load(text)
        for name, value in self.settings.items():
            before = document.get(name)
            document[name] = [*before, *value] if isinstance(value, list) else {**(before or {}), **value}
        document["targets"][0].update(self.target)
        return yaml.safe_dump(document)


WAYS = {}


def broken(*alerts, **options):
    def keep(function):
        WAYS[function.__name__] = Broken(function, alerts, **options)
        return function

    return keep


@broken("ExtprocAbsent")
def no_target(scene):
    scene.prometheus.follow(None)
    yield


@broken("ExtprocDown")
def stopped(scene):
    scene.stack.processes["extproc"].send_signal(signal.SIGSTOP)
    yield


@broken(
    "ExtprocNotReady",
    "ExtprocKeysNeverFetched",
    "ExtprocKeyFetchesFail",
    settings={"refresh": {"cooldown": 1}},
)
def started_without_the_provider(scene):
    scene.stack.control("idp", "faults", {"discovery": "error"})
    scene.restart(ready=False)
    yield


REFRESH = {"interval": 10, "shortest": 10, "longest": 10, "cooldown": 5}


@broken("ExtprocKeysStale", settings={"refresh": REFRESH})
def the_provider_goes_away_for_long(scene):
    scene.stack.control("idp", "faults", {"jwks": "error"})
    yield


@broken("ExtprocWorkerRestarts", "ExtprocWorkerNotReady", workers=2)
def a_worker_crashes_again_and_again(scene):
    while True:
        pid = supervised.children(scene.stack.processes["extproc"].pid).get(2)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        yield


@broken(
    "ExtprocStsFails",
    "ExtprocBreakerOpen",
    "ExtprocDeniesForInfrastructure",
    settings={"sts": {"breaker_seconds": 0.3}},
)
def sts_fails(scene):
    scene.stack.control("sts", "faults", {"mode": "fail"})
    while True:
        assert scene.ask(scene.token()) == "503"
        yield


@broken("ExtprocExchangesRefused")
def sts_refuses_once(scene):
    scene.stack.control("sts", "faults", {"mode": "access_denied", "count": 1})
    assert scene.ask(scene.token()) == "403"
    yield


@broken("ExtprocExchangesTurnedAway", settings={"sts": {"workers": 1, "max_waiting": 2}})
def more_newcomers_than_turns(scene):
    scene.stack.control("sts", "faults", {"mode": "slow", "delay": 0.5})
    while True:
        scene.at_once([scene.token() for _ in range(8)])
        yield


@broken("ExtprocOneUserTurnedAway", settings={"sts": {"workers": 2}})
def one_user_opens_sessions_without_end(scene):
    scene.stack.control("sts", "faults", {"mode": "slow", "delay": 1})
    while True:
        assert "429" in scene.at_once([scene.token(user="greedy") for _ in range(40)])
        yield


@broken("ExtprocRefreshesFail", settings={"cache": {"margin": 0}})
def renewals_fail(scene):
    scene.stack.control("sts", "faults", {"credential_lifetime": 25})
    tokens = [scene.token(lifetime="86400") for _ in range(12)]
    assert set(scene.at_once(tokens)) == {"200"}
    scene.stack.control("sts", "faults", {"mode": "access_denied", "credential_lifetime": 25})
    while True:
        scene.at_once(tokens)
        yield


@broken("ExtprocEvicting", settings={"limits": {"sessions": 2}})
def more_sessions_than_fit(scene):
    tokens = [scene.token() for _ in range(30)]
    while True:
        scene.at_once(tokens)
        yield


@broken("ExtprocClockOffset")
def the_clocks_differ(scene):
    scene.restart(
        "sts",
        patched="import datetime, extproc.demo.sts_wire as wire; real = wire.datetime; "
        "wire.datetime = type('Ahead', (), {'now': lambda zone: real.now(zone) + datetime.timedelta(seconds=90)})",
    )
    assert scene.ask(scene.token()) == "200"
    yield


@broken("ExtprocAuditDropped")
def the_disk_is_full(scene):
    log = scene.directory / "audit.log"
    full = scene.directory / "full"
    full.symlink_to("/dev/full")
    full.replace(log)
    yield


@broken("ExtprocReloadFailed")
def the_file_is_half_written(scene):
    path = scene.directory / "extproc.yaml"
    path.write_text(path.read_text()[:200] + "\n[")
    yield


@broken("ExtprocRestartNeeded")
def the_file_has_what_needs_a_restart(scene):
    scene.configure(lambda document: document.update(limits={"sessions": 5000}))
    yield


@broken("ExtprocSignaturesRefused")
def the_service_is_not_the_upstreams(scene):
    scene.configure(lambda document: document["targets"][0].update(service="other"))
    while True:
        scene.ask(scene.token())
        yield


@broken("ExtprocPolicyErrors")
def a_rule_cannot_decide(scene):
    rule = {"name": "wrong", "matcher": 'claims.groups[7] == "x"', "effect": "deny"}
    scene.configure(lambda document: document["role_mappings"].append(rule))
    yield


INCIDENT = {"name": "incident", "claim": "admins", "role_arn": ADMIN_ROLE, "priority": 0, "break_glass": True}


@broken("ExtprocBreakGlass", settings={"role_mappings": [INCIDENT]})
def a_user_breaks_the_glass(scene):
    while True:
        more = ("x-break-glass-reason: an alert is tested", "Connection: close")
        raw(scene.stack.addresses.envoy, scene.head("GET", scene.token(), *more))
        yield


@broken("ExtprocStreamsAbandoned")
def clients_leave_while_they_send(scene):
    host, _, port = scene.stack.addresses.envoy.rpartition(":")
    token = scene.token()
    while True:
        with contextlib.ExitStack() as connections:
            for _ in range(6):
                client = connections.enter_context(socket.create_connection((host, int(port)), timeout=10))
                client.sendall(scene.head("POST", token, "Content-Length: 10") + b"half")
            time.sleep(0.5)
        yield


@broken("ExtprocOwnTimeHigh")
def sts_is_slow(scene):
    scene.stack.control("sts", "faults", {"mode": "slow", "delay": 1.5})
    while True:
        scene.at_once([scene.token() for _ in range(2)])
        yield


@broken(
    "ExtprocTargetBusy",
    "ExtprocWaitingForTarget",
    target={"max_connections": 3, "max_connections_per_subject": 3, "max_waiting": 12},
)
def users_hold_all_connections(scene):
    with held(scene.stack, scene.token(), 3, "/sse?n=10&delay=50"):
        while True:
            scene.at_once([scene.token() for _ in range(3)])
            yield


@broken("ExtprocUserHoldsStreams", target={"max_connections": 8, "max_wait": 0.2})
def one_user_opens_streams_without_end(scene):
    greedy = scene.token(user="greedy")
    with held(scene.stack, greedy, 4, "/sse?n=10&delay=50"):
        while True:
            scene.at_once([greedy] * 12)
            yield


SIGN = "from extproc.signing.signer import Signer; import time; sign = Signer.sign\ndef other(*a, **k):\n    "


@broken("ExtprocSlow")
def signing_takes_long(scene):
    scene.restart(patched=f"{SIGN}time.sleep(0.004); return sign(*a, **k)\nSigner.sign = other")
    yield


@broken("ExtprocInternalErrors")
def the_signer_has_a_bug(scene):
    scene.restart(patched=f"{SIGN}return 1 / 0\nSigner.sign = other")
    yield


@broken(
    "ExtprocRememberedHeadDiffers",
    settings={"head_memory": {"check_one_in": 1}},
    patched="import os, extproc.head_memory.memory as memory; same = memory._same\n"
    "memory._same = lambda *a: not os.path.exists({flag!r}) and same(*a)",
)
def the_head_memory_has_a_bug(scene):
    (scene.directory / "broken").touch()
    yield


@broken("ExtprocEnvoyMismatch")
def envoy_does_not_send_bodies(scene):
    token = scene.token()
    with further_envoy(
        scene.stack,
        scene.directory,
        lambda text: text.replace("request_body_mode: BUFFERED", "request_body_mode: NONE"),
    ) as url:
        assert scene.ask(token, address=url.removeprefix("http://"), body=b"{}") == "500"
    yield


@pytest.mark.parametrize("way", WAYS)
def test_alerts_fire_when_the_server_is_broken(way, tmp_path):
    break_it(WAYS[way], tmp_path)


def test_an_alert_fires_when_the_shared_store_is_gone(tmp_path):
    with stores.Server() as store:

        def gone(_scene):
            store.kill()
            yield

        shared = {"url": store.url, "secret_file": str(stores.secret_file(tmp_path))}
        way = Broken(gone, ("ExtprocSharedStoreAway",), settings={"cache": {"shared": shared}})
        break_it(way, tmp_path)


def break_it(way, tmp_path):
    stack = PatchedStack(tmp_path, adjust=way.adjust, workers=way.workers)
    if way.patched:
        stack.patches["extproc"] = way.patched.format(flag=str(tmp_path / "broken"))
    with (
        stack,
        prometheus(Path(PROGRAMS), tmp_path / "prometheus", stack.addresses.extproc_admin) as watching,
    ):
        scene = Scene(stack, tmp_path)
        scene.prometheus = watching
        scene.start()
        try:
            observe(watching, lambda: way.function(scene), way.alerts, names=scene.names)
        finally:
            scene.stop()


def observe(watching, breaking, wanted, *, names):
    """See that nothing fires while all is well, and that the wanted alerts fire then; record it if asked to."""
    supervised.until(lambda: watching.samples(["up"], seconds=5), "nothing is scraped")
    time.sleep(HEALTHY)  # what does not happen has no event to wait for
    assert watching.alerts() == []
    began, fired = time.time(), {}
    recorded = set()
    steps = itertools.chain(breaking(), itertools.repeat(None))
    for _ in steps:
        firing, now = watching.firing(), time.time()
        for name in firing.intersection(wanted):
            if now - fired.setdefault(name, now) >= SETTLED and name not in recorded:
                recorded.add(name)
                if RECORD:
                    record(watching, name, began, names)
        if recorded == set(wanted):
            return
        assert now - began < WITHIN, (wanted, firing)
        time.sleep(0.25)


def record(watching, name, broken_at, names):
    rule = ALERTS[name]
    alerts = [alert for alert in watching.alerts() if alert["labels"]["alertname"] == name]
    samples = watching.samples(series.metrics_of(rule), seconds=time.time() - broken_at + HEALTHY)
    path = series.write(rule, samples, broken_at=broken_at, alerts=alerts, names=names)
    series.check(Path(PROGRAMS), path)


def ends_soon(authority, pair):
    authority.issue("soon", *LOCAL, ends_in=DAY / 24).copy_to(pair)


def has_ended(authority, pair):
    authority.issue("ended", *LOCAL, ends_in=-DAY / 24).copy_to(pair)


def does_not_fit(authority, pair):
    authority.issue("other", *LOCAL).copy_key_to(pair)


CERTIFICATES = {
    "ExtprocCertificateExpires": ends_soon,
    "ExtprocCertificateExpired": has_ended,
    "ExtprocCertificateFilesBroken": does_not_fit,
}


@pytest.mark.parametrize("alert", CERTIFICATES)
def test_alerts_fire_for_the_listeners_certificate(alert, tmp_path, monkeypatch):
    monkeypatch.setattr(supervised, "PATIENCE", 120.0)  # several stacks start at once
    grpc, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
    authority = Authority(tmp_path)
    pair = authority.issue("server", *LOCAL)
    tls = {"certificate": str(pair.certificate), "private_key": str(pair.key)}
    path = supervised.settings(tmp_path, grpc=grpc, admin=admin, listen={"tls": tls})

    def breaking():
        CERTIFICATES[alert](authority, pair)
        yield

    with (
        supervised.serving(path, admin=admin, workers=1) as served,
        prometheus(Path(PROGRAMS), tmp_path / "prometheus", admin) as watching,
    ):
        served.wait_ready()
        observe(watching, breaking, [alert], names={})


def test_every_alert_is_made_to_fire_here():
    assert sorted([*CERTIFICATES, *(name for way in WAYS.values() for name in way.alerts)]) == sorted(ALERTS)
