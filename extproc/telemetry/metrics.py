"""Prometheus metrics. No label carries anything of a user."""

from collections.abc import Callable

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

    def follow(
        self,
        *,
        sessions: Callable[[], int],
        breaker: Callable[[], int],
        clock_offset: Callable[[], float],
        exchanges_waiting: Callable[[], int],
    ) -> None:
        """Show the present value of each whenever metrics are asked for."""
        for name, help_text, value in (
            ("extproc_sessions", "Sessions held.", sessions),
            ("extproc_sts_breaker", "STS circuit breaker: 0 closed, 1 half-open, 2 open.", breaker),
            ("extproc_clock_offset_seconds", "Seconds by which AWS's clock is ahead of ours.", clock_offset),
            ("extproc_exchanges_waiting", "Exchanges under way or queued.", exchanges_waiting),
        ):
            Gauge(name, help_text, registry=self.registry).set_function(value)

    def follow_certificate(self, *, expires_at: Callable[[], float], broken: Callable[[], bool]) -> None:
        """Show when the listener's certificate ends, and whether its files hold one that cannot be used."""
        for name, help_text, value in (
            (
                "extproc_certificate_expiry_timestamp_seconds",
                "When the gRPC listener's certificate ends, in Unix time.",
                expires_at,
            ),
            (
                "extproc_certificate_files_broken",
                "1 while the certificate files cannot be used and the ones before are still served.",
                broken,
            ),
        ):
            Gauge(name, help_text, registry=self.registry).set_function(value)

    def allowed(self, target: str) -> None:
        """Count a signed request."""
        self._requests.labels("allow", "", target).inc()

    def denied(self, reason: Reason, target: str) -> None:
        """Count a denial."""
        self._requests.labels("deny", reason.value, target).inc()

    def exchanged(self, outcome: str) -> None:
        """Count an exchange."""
        self._exchanges.labels(outcome).inc()
