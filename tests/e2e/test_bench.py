"""The benchmark from end to end, as short as it can be: it measures what it says it measures."""

import dataclasses

import pytest

from bench import through_envoy
from bench.__main__ import run, write
from bench.world import ENVOY_ALONE, NATIVE, UNCACHED, engines, full, noop

# Every contender is started and loaded.
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SHORTEST = dataclasses.replace(
    through_envoy.QUICK,
    rounds=1,
    seconds=0.3,
    users=3,
    cold_users=1,
    sessions=(50,),
    idle_streams=20,
    micro_seconds=0.001,
)


@pytest.fixture(scope="module")
def results():
    wanted = {"throughput", "exchanges", "cold", "idle", "micro", "memory"}
    return run(SHORTEST, wanted, quick=True, proxy=None)


def test_every_contender_answers_and_those_that_sign_are_known(results):
    cases = results["throughput"]["cases"]
    signing = {NATIVE, *map(full, engines()), *(f"{full(engine)}, 3 users" for engine in engines())}
    assert set(cases) == {ENVOY_ALONE, *map(noop, engines()), *signing}
    assert {name for name, case in cases.items() if case["signs"]} == signing
    assert all(row["rate"] > 0 for case in cases.values() for row in case["loaded"])


def test_a_user_costs_one_exchange_and_without_a_cache_each_request_does(results):
    for rounds in results["exchanges"].values():
        (ours,) = rounds[full(engines()[0])]
        (anew,) = rounds[UNCACHED]
        assert ours["exchanges"] == 1 < ours["requests"]
        assert anew["exchanges"] >= anew["requests"]


def test_a_first_request_waits_for_sts(results):
    for row in results["cold"]:
        assert min(row["first"]) >= row["sts"]


def test_idle_streams_and_sessions_take_memory(results):
    assert all(row["during"] > row["before"] for row in results["idle"])
    traced = results["memory"][0]
    assert traced["held"] > traced["tokens"] > 50 * 1000


def test_the_report_of_it_can_be_written(results, tmp_path):
    write(results, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Through Envoy" in text
    assert "(throughput.svg)" in text
    assert str(tmp_path) not in text
