"""The workers' metrics, merged."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from extproc.workers.metrics import WorkerMetrics


def exposition(requests, label='a "b"\\\n'):
    registry = CollectorRegistry()
    counter = Counter("requests", "Requests.", ["target"], registry=registry)
    counter.labels(label).inc(requests)
    Gauge("sessions", "Sessions.", registry=registry).set(requests / 2)
    Histogram("seconds", "Time.", buckets=[0.1, 1], registry=registry).observe(0.5)
    return generate_latest(registry).decode()


def shown(expositions):
    registry = CollectorRegistry()
    registry.register(WorkerMetrics(lambda: expositions))
    text = generate_latest(registry).decode()
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return text, {
        (sample.name, *sorted(sample.labels.items())): (sample.value, family.type)
        for family in families
        for sample in family.samples
    }


def test_every_sample_names_its_worker_and_keeps_its_type():
    text, samples = shown({1: exposition(3), 2: exposition(5)})
    target = ("target", 'a "b"\\\n')
    assert samples["requests_total", target, ("worker", "1")] == (3.0, "counter")
    assert samples["requests_total", target, ("worker", "2")] == (5.0, "counter")
    assert samples["sessions", ("worker", "2")] == (2.5, "gauge")
    assert samples["seconds_bucket", ("le", "1.0"), ("worker", "1")] == (1.0, "histogram")
    assert samples["seconds_bucket", ("le", "0.1"), ("worker", "1")] == (0.0, "histogram")
    assert text.count("# TYPE requests_total counter") == 1
    assert "# HELP requests_total Requests." in text


def test_a_worker_that_is_away_is_left_out():
    assert {labels[-1] for labels in shown({2: exposition(1)})[1]} == {("worker", "2")}
    assert shown({})[1] == {}


@given(st.dictionaries(st.integers(1, 8), st.integers(0, 10**6), max_size=4), st.text(max_size=20))
def test_no_sample_is_lost_or_summed(requests, label):
    samples = shown({number: exposition(count, label) for number, count in requests.items()})[1]
    found = {
        dict(key[1:])["worker"]: value for key, (value, _) in samples.items() if key[0] == "requests_total"
    }
    assert found == {str(number): float(count) for number, count in requests.items()}
