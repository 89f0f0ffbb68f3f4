"""Prometheus metrics. No label carries anything of a user."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from extproc.errors import Reason


class Metrics:
    """The process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "extproc_requests",
            "Requests decided, by decision, reason of denial and target.",
            ["decision", "reason", "target"],
            registry=self.registry,
        )
        self._exchanges = Counter(
            "extproc_exchanges",
            "Token exchanges at STS, by outcome: ok or the reason of denial.",
            ["outcome"],
            registry=self.registry,
        )
        self.sessions = Gauge("extproc_sessions", "Sessions held.", registry=self.registry)

    def allowed(self, target: str) -> None:
        """Count a signed request."""
        self._requests.labels("allow", "", target).inc()

    def denied(self, reason: Reason, target: str) -> None:
        """Count a denial."""
        self._requests.labels("deny", reason.value, target).inc()

    def exchanged(self, outcome: str) -> None:
        """Count an exchange."""
        self._exchanges.labels(outcome).inc()
