"""Metrics: correct under threads, equal to the client library's, and with no user data in labels."""

import dataclasses
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as TheirHistogram
from prometheus_client.parser import text_string_to_metric_families

from extproc.errors import Reason
from extproc.fairness.stream_slots import OUTCOMES
from extproc.shared_store.lookup import LOOKUPS
from extproc.shared_store.patience import Outcome
from extproc.shared_store.writer import WRITES
from extproc.sts.errors import _REASONS as STS_CODES
from extproc.sts.errors import denied
from extproc.telemetry.histogram import Histogram
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.state import ABANDONED_IN, EXCHANGE_REFUSALS, SECONDS, SHADOW_OUTCOMES
from support.telemetry import GRANT, SOURCES, head, identity, record


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_requests_are_counted_by_decision_reason_and_target():
    metrics = Metrics()
    for _ in range(3):
        metrics.decided(record())
    metrics.decided(record(decision="deny", reason="no_role", target=""))
    assert value(metrics, "extproc_requests_total", decision="allow", reason="", target="aws-mcp") == 3
    assert value(metrics, "extproc_requests_total", decision="deny", reason="no_role", target="") == 1


def test_series_start_at_0_so_that_the_first_event_is_an_increase():
    metrics = Metrics(exchange_outcomes=[("ok", ""), ("sts_access_denied", "AccessDenied")])
    metrics.decided(record())
    metrics.expect(targets=["aws-mcp", "s3"], issuers=["https://idp.example"])
    for target in ("", "aws-mcp", "s3"):
        for reason in Reason:
            labels = {"decision": "deny", "reason": reason.value, "target": target}
            assert value(metrics, "extproc_requests_total", **labels) == 0
        assert value(metrics, "extproc_requests_total", decision="reply", reason="", target=target) == 0
    assert value(metrics, "extproc_requests_total", decision="allow", reason="", target="s3") == 0
    assert value(metrics, "extproc_requests_total", decision="allow", reason="", target="aws-mcp") == 1
    assert value(metrics, "extproc_withheld_headers_total", target="s3") == 0
    for outcome in ("ok", "failed"):
        assert (
            value(metrics, "extproc_jwks_fetches_total", issuer="https://idp.example", outcome=outcome) == 0
        )
    refusal = {"outcome": "sts_access_denied", "code": "AccessDenied"}
    assert value(metrics, "extproc_exchanges_total", **refusal) == 0
    metrics.exchanged("sts_access_denied", "AccessDenied", 0.1)
    assert value(metrics, "extproc_exchanges_total", **refusal) == 1


def test_the_shared_store_shows_if_there_is_one():
    metrics = Metrics()
    metrics.follow(SOURCES)
    assert value(metrics, "extproc_shared_store_calls_total", outcome="slow") == 1
    assert value(metrics, "extproc_shared_store_lookups_total", outcome="hit") == 7
    assert value(metrics, "extproc_shared_store_writes_total", outcome="stored") == 4
    assert value(metrics, "extproc_shared_store_waits_total") == 2
    assert value(metrics, "extproc_shared_store_writes_waiting") == 3
    assert value(metrics, "extproc_shared_store_breaker") == 2
    assert value(metrics, "extproc_shared_store_poll_age_seconds") == float("inf")
    assert value(metrics, "extproc_shared_store_unusable_revocations") == 1
    without = Metrics()
    without.follow(dataclasses.replace(SOURCES, shared_store=None))
    assert value(without, "extproc_shared_store_breaker") is None


def test_durations_are_observed_for_the_stages_that_a_request_went_through():
    metrics = Metrics()
    metrics.decided(record(own=0.02, sign=1.5e-5, stages={"verify": (1.0, 1.0001), "exchange": (2.0, 9.0)}))
    metrics.decided(record(own=0.00002))
    for stage, count in (("total", 2), ("sign", 1), ("verify", 1), ("policy", 0), ("exchange", 0)):
        assert value(metrics, "extproc_duration_seconds_count", stage=stage) == count
    assert value(metrics, "extproc_duration_seconds_bucket", stage="sign", le="2.5e-05") == 1
    assert value(metrics, "extproc_duration_seconds_bucket", stage="sign", le="1e-05") == 0
    metrics.exchanged("ok", "", 0.3)
    assert value(metrics, "extproc_duration_seconds_count", stage="exchange") == 1


def test_exchanges_at_identity_providers_are_counted_by_issuer():
    metrics = Metrics(token_exchange_outcomes=[("ok", ""), ("token_exchange_refused", "invalid_grant")])
    metrics.expect(targets=[], issuers=[], token_exchanges=["https://idp.example"])
    refused = {"issuer": "https://idp.example", "outcome": "token_exchange_refused", "code": "invalid_grant"}
    assert value(metrics, "extproc_token_exchanges_total", **refused) == 0
    metrics.token_exchanged(*refused.values(), 0.2)
    metrics.token_exchanged("https://idp.example", "token_exchange_misconfigured", "unusable_token", 0.0)
    metrics.token_exchange_refused("https://idp.example", "breaker_open")
    assert value(metrics, "extproc_token_exchanges_total", **refused) == 1
    assert value(metrics, "extproc_duration_seconds_count", stage="token_exchange") == 1
    cause = {"issuer": "https://idp.example", "cause": "breaker_open"}
    assert value(metrics, "extproc_token_exchanges_refused_total", **cause) == 1


def test_lookups_count_for_both_caches():
    metrics = Metrics()
    for state in ("hit", "hit", "session", "miss", ""):
        metrics.decided(record(cache=state))
    found = {
        (name, cache): value(metrics, f"extproc_cache_{name}_total", cache=cache)
        for name in ("hits", "misses")
        for cache in ("sessions", "credentials")
    }
    assert found == {
        ("hits", "sessions"): 3, ("misses", "sessions"): 1, ("hits", "credentials"): 2, ("misses", "credentials"): 2,
    }  # fmt: skip


def test_present_values_are_those_of_the_moment():
    metrics = Metrics()
    metrics.follow(SOURCES)
    assert value(metrics, "extproc_ready") == 1
    assert value(metrics, "extproc_sts_breaker") == 2
    assert value(metrics, "extproc_clock_offset_seconds") == -7.5
    assert value(metrics, "extproc_cache_entries", cache="sessions") == 3
    assert value(metrics, "extproc_cache_evictions_total", cache="sessions") == 1
    assert value(metrics, "extproc_credentials_refreshes_total", outcome="failed") == 1
    assert value(metrics, "extproc_jwks_age_seconds", issuer="https://idp.example") == float("inf")
    assert value(metrics, "extproc_audit_events_total", outcome="dropped") == 9
    assert value(metrics, "extproc_audit_queue_length") == 6
    assert value(metrics, "extproc_exchanges_waiting") == 5


def test_reloads_are_counted_by_outcome():
    metrics = Metrics()
    assert value(metrics, "extproc_config_last_reload_successful") == 1
    loaded = value(metrics, "extproc_config_last_reload_timestamp_seconds")
    metrics.reloaded("failed", at=loaded + 1)
    assert value(metrics, "extproc_config_last_reload_successful") == 0
    assert value(metrics, "extproc_config_last_reload_timestamp_seconds") == loaded
    metrics.reloaded("applied", at=loaded + 2)
    assert value(metrics, "extproc_config_last_reload_successful") == 1
    assert value(metrics, "extproc_config_reloads_total", outcome="failed") == 1


def test_there_are_process_and_build_metrics():
    names = {family.name for family in Metrics().registry.collect()}
    assert {"extproc_build_info", "python_info", "process_resident_memory_bytes"} <= names
    assert "python_gc_collections" in names


@given(st.lists(st.floats(min_value=0, max_value=20) | st.sampled_from(SECONDS), max_size=50))
def test_a_histogram_is_the_client_librarys(values):
    registry = CollectorRegistry()
    theirs = TheirHistogram("h", "h", buckets=SECONDS, registry=registry)
    ours, at_once = Histogram(SECONDS), Histogram(SECONDS)
    for number in values:
        theirs.observe(number)
        ours.observe(number)
    at_once.observe_all(iter(values))
    (family,) = registry.collect()
    buckets, total = ours.exposed()
    expected = [sample.value for sample in family.samples if sample.name == "h_bucket"]
    assert [count for _, count in buckets] == expected
    assert total == pytest.approx(registry.get_sample_value("h_sum"))
    assert at_once.exposed() == (buckets, pytest.approx(total))


def test_no_update_is_lost_between_threads():
    metrics, each = Metrics(), 20_000
    counted = record(own=0.5, sign=0.25)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [metrics.decided(counted) for _ in range(each)]) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert value(metrics, "extproc_requests_total", decision="allow", reason="", target="aws-mcp") == 2 * each
    assert value(metrics, "extproc_duration_seconds_sum", stage="total") == each
    assert value(metrics, "extproc_duration_seconds_count", stage="sign") == 2 * each


TEXT = st.text(st.characters(max_codepoint=255), max_size=40)
SHARED_STORE_OUTCOMES = {*map(str, Outcome), *LOOKUPS, *WRITES}
CLOSED = {
    "decision": {"allow", "deny", "reply"},
    "reason": {"", *(reason.value for reason in Reason)},
    "target": {"", "aws-mcp"},
    "stage": {"total", "verify", "policy", "token_exchange", "exchange", "target", "sign"},
    "cache": {"sessions", "credentials"},
    "cause": set(EXCHANGE_REFUSALS),
    "phase": set(ABANDONED_IN),
    "outcome": {
        *OUTCOMES,
        *SHADOW_OUTCOMES,
        "ok",
        "failed",
        "applied",
        "unchanged",
        "written",
        "dropped",
        "same",
        "different",
        *SHARED_STORE_OUTCOMES,
        *(reason.value for reason in Reason),
    },
    "issuer": {"https://idp.example"},
    "setting": {"sts", "cache"},
}


@given(text=TEXT, reason=st.sampled_from(Reason), cache=st.sampled_from(["", "hit", "session", "miss"]))
def test_labels_come_from_closed_sets_whatever_users_send(text, reason, cache):
    metrics = Metrics()
    metrics.follow(SOURCES)
    metrics.decided(
        record(
            head=head(method=text, path=text, headers=[("x-request-id", text), ("mcp-name", text)]),
            decision="deny",
            reason=reason.value,
            identity=identity(text or "a", azp=text),
            grant=GRANT,
            access_key_id=text,
            mcp_method=text,
            mcp_name=text,
            cache=cache,
        )
    )
    refused = denied(400, text, text)
    metrics.exchanged(refused.reason.value, refused.code, 0.1)
    metrics.fetched("https://idp.example", False)
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        if not family.name.startswith("extproc_") or family.name == "extproc_build_info":
            continue
        for sample in family.samples:
            for label, shown in sample.labels.items():
                if label == "code":
                    assert shown in {"", "other", *STS_CODES}
                elif label != "le":
                    assert shown in CLOSED[label], (sample.name, label)
