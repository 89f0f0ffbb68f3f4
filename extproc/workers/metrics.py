"""The workers' metrics as one exposition: every sample gets the label ``worker``.

Nothing is added up here: a worker that starts again counts from zero, which Prometheus's
``rate`` understands of one series, and not of a sum. Sums are ``sum without (worker) (...)``.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

LABEL = "worker"


def merged(expositions: Mapping[int, str]) -> list[Metric]:
    """The metric families of all workers, by their numbers; each family once."""
    families: dict[str, Metric] = {}
    for number, text in expositions.items():
        for family in text_string_to_metric_families(text):
            metric = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                metric.add_sample(sample.name, {**sample.labels, LABEL: str(number)}, sample.value)
    return list(families.values())


class WorkerMetrics(Collector):
    """Collects from the workers whenever metrics are asked for. ``ask`` gives their texts by number."""

    def __init__(self, ask: Callable[[], Mapping[int, str]]) -> None:
        self._ask = ask

    def collect(self) -> Iterable[Metric]:
        """The merged families."""
        return merged(self._ask())


class WorkerHealth:
    """Shows of each worker whether it is ready, and how often it ended by itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ready = Gauge("extproc_worker_ready", "1 if the worker is ready.", [LABEL], registry=registry)
        self._restarts = Counter(
            "extproc_worker_restarts", "Ends of a worker that nobody asked for.", [LABEL], registry=registry
        )

    def follow(self, number: int, is_ready: Callable[[], bool]) -> None:
        """Show a worker; its ends are counted from 0."""
        self._ready.labels(str(number)).set_function(is_ready)
        self._restarts.labels(str(number))

    def ended(self, number: int) -> None:
        """Count an end that nobody asked for."""
        self._restarts.labels(str(number)).inc()
