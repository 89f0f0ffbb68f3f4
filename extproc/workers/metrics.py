"""The workers' metrics in one exposition: every sample gets the label ``worker``.

Nothing is summed here. A worker that restarts counts from zero: Prometheus's ``rate`` recognises that
in a worker's own series, but not in a sum. Query sums with ``sum without (worker) (...)``.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

LABEL = "worker"


def merged(expositions: Mapping[int, str]) -> list[Metric]:
    """Merge expositions, given by the workers' numbers, so that each family is there once."""
    families: dict[str, Metric] = {}
    for number, text in expositions.items():
        for family in text_string_to_metric_families(text):
            metric = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                metric.add_sample(sample.name, {**sample.labels, LABEL: str(number)}, sample.value)
    return list(families.values())


class WorkerMetrics(Collector):
    """Collects the workers' metrics at each scrape. ``fetch`` returns their expositions by number."""

    def __init__(self, fetch: Callable[[], Mapping[int, str]]) -> None:
        self._fetch = fetch

    def collect(self) -> Iterable[Metric]:
        """Return the merged families."""
        return merged(self._fetch())


class WorkerHealth:
    """Shows whether each worker is ready, and how often it ended unexpectedly."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ready = Gauge("extproc_worker_ready", "1 if the worker is ready.", [LABEL], registry=registry)
        self._restarts = Counter(
            "extproc_worker_restarts", "Unexpected ends of a worker.", [LABEL], registry=registry
        )

    def follow(self, number: int, is_ready: Callable[[], bool]) -> None:
        """Show a worker, with no ends at first."""
        self._ready.labels(str(number)).set_function(is_ready)
        self._restarts.labels(str(number))

    def ended(self, number: int) -> None:
        """Count an unexpected end."""
        self._restarts.labels(str(number)).inc()
