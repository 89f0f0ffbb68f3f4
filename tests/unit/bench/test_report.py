import copy
import json

import pytest

from bench import report
from bench.judge import judge


def rounds(*rates, p50=1000.0, **cpu):
    usual = {"envoy": 60.0, "upstream": 30.0, "load": 9.0}
    return [
        {"rate": rate, "p50": p50, "p99": 4 * p50, "p999": 8 * p50, "cpu": {**usual, **cpu}} for rate in rates
    ]


def case(*rates, p50=1000.0, process=None, signs=False, alone=True):
    measured = rounds(*rates, p50=p50, **({"server": 200.0} if process else {}))
    return {
        "signs": signs,
        "process": process,
        "loaded": measured,
        "alone": rounds(*rates, p50=p50 / 4) if alone else [],
    }


RESULTS = {
    "quick": False,
    "engines": ["completion_queue", "aio"],
    "generator": "wrk 4.1",
    "connections": 32,
    "seconds": 4,
    "machine": {"processor": "an abacus, 2 cores", "Envoy": "1.40.0"},
    "proxy": "1.7.0",
    "noise": 0.031,
    "stolen": 0.01,
    "took": 600.0,
    "throughput": {
        "cases": {
            "Envoy alone": case(20_000, 21_000, 22_000),
            "no-op, completion_queue": case(6000, 5000, 4000, process="no-op, completion_queue"),
            "no-op, aio": case(2500, 2600, 2700, process="no-op, aio"),
            "extproc, completion_queue": case(
                5400, 4500, 3600, p50=1200.0, process="extproc, completion_queue", signs=True
            ),
            "extproc, aio": case(1500, 1600, 1700, process="extproc, aio", signs=True),
            "extproc, aio, 1000 users": case(
                1400, 1500, 1600, process="extproc, aio", signs=True, alone=False
            ),
        },
        "rss": {"extproc, completion_queue": 100 << 20, "envoy": 80 << 20},
    },
    "exchanges": {
        delay: {
            "extproc, completion_queue": [
                {"rate": 5000.0, "p50": 6000.0, "requests": 20_000, "exchanges": 1},
                {"rate": 5100.0, "p50": 6000.0, "requests": 20_400, "exchanges": 1},
            ],
            "exchange per request": [
                {"rate": 90.0, "p50": 300_000.0, "requests": 360, "exchanges": 362},
                {"rate": 95.0, "p50": 310_000.0, "requests": 380, "exchanges": 380},
            ],
        }
        for delay in ("0", "30")
    },
    "cold": [{"sts": 30.0, "first": [41.0, 40.0, 44.0], "second": [1.0, 1.2, 0.9]}],
    "mcp": {
        "0": {
            "Envoy and extproc": [
                {
                    "first": 120.0,
                    "p50": 5.0,
                    "rate_together": 330.0,
                    "cpu": 2500.0,
                    "calls": 66,
                    "exchanges": 1,
                }
            ],
            "mcp-proxy-for-aws": [],
        }
    },
    "micro": {
        "whole warm request: head and body": [38.0, 37.0, 45.0],
        "sign (and list what changes)": [9.0, 8.9, 9.3],
    },
    "growth": {
        "users": [[1, [38.0, 37.0, 39.0]], [10_000, [52.0, 50.0, 60.0]]],
        "sessions": [[1, [38.0, 37.0, 39.0]], [10_000, [39.0, 38.0, 40.0]]],
        "mappings": [[0, [38.0, 37.0, 39.0], [70.0, 69.0, 75.0]], [200, [38.0, 37.0, 39.0], [9e4, 8e4, 1e5]]],
        "bodies": [[1024, [39.0, 38.0, 40.0]]],
        "forms": {"mappings": 200, "rows": [["a || b", 20, "Grant", [100.0, 90.0, 110.0]]]},
    },
    "bodies": [
        {"size": 1023, "no-op, completion_queue": [5000.0], "extproc, completion_queue": [4000.0]},
        {"size": (4 << 20) - 1, "no-op, completion_queue": [90.0], "extproc, completion_queue": [60.0]},
    ],
    "memory": [{"sessions": 100_000, "held": 560_000_000, "tokens": 180_000_000, "traced": False}],
    "idle": [{"engine": "aio", "streams": 10_000, "before": 90 << 20, "during": 250 << 20}],
}


def results(**changes):
    return {**copy.deepcopy(RESULTS), **changes}


def verdicts(measured):
    return {
        (verdict.target.partition(":")[0], verdict.stretch): (verdict.measured, verdict.met)
        for verdict in judge(measured)
    }


def test_throughput_is_judged_by_the_fastest_noop_of_the_same_round():
    seen = verdicts(results())
    assert seen["throughput", False] == ("0.90 (0.90-0.90)", True)
    assert seen["throughput", True] == ("0.90 (0.90-0.90)", False)


def test_latency_is_judged_by_the_same_noop():
    seen = verdicts(results())
    assert seen["p50 at one connection", False] == ("1.20 (1.20-1.20)", False)
    assert seen["p99 under load", False] == ("1.20 (1.20-1.20)", True)


@pytest.mark.parametrize(("microseconds", "met"), [(40.0, True), (40.1, False)])
def test_own_work_may_take_forty_microseconds(microseconds, met):
    micro = {"whole warm request: head and body": [microseconds, 30.0, 50.0]}
    assert verdicts(results(micro=micro))["own work for a warm request", False][1] is met


def test_two_exchanges_for_one_user_are_one_too_many():
    measured = results()
    assert verdicts(measured)["exactly one exchange for 32 connections of one user", False][1] is True
    measured["exchanges"]["30"]["extproc, completion_queue"][1]["exchanges"] = 2
    assert verdicts(measured)["exactly one exchange for 32 connections of one user", False][1] is False


def test_tokens_are_not_counted_against_a_session():
    (found,) = [v for v in judge(results()) if "sessions" in v.target]
    assert (found.measured, found.met) == ("3.71 KiB", False)


def test_idle_streams_are_judged_by_what_they_add_and_by_all_the_memory_of_the_server():
    alone, with_the_server = [v for v in judge(results()) if "idle" in v.target]
    assert (alone.measured, alone.met) == ("160 MiB", True)
    assert (with_the_server.measured, with_the_server.met) == ("250 MiB", False)
    assert "server itself" in with_the_server.target


def test_what_was_not_measured_is_not_judged():
    assert judge({"engines": ["aio"]}) == []


def test_the_verdicts_come_first_and_every_section_has_its_table():
    text = report.render(results(), plots=["throughput.svg"])
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles[0] == "## Targets"
    assert titles[-1] == "## Measured on"
    assert len(titles) == 11
    assert "| throughput: at least 0.85 of the no-op, completion_queue | 0.90 (0.90-0.90) | met |" in text
    assert "| extproc, aio, 1000 users | 1,500 (1,400-1,600) | 0.30 (0.23-0.40) | all |" in text
    assert "![throughput](throughput.svg)" in text
    assert "an abacus, 2 cores" in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head():
    width = None
    for line in report.render(results()).splitlines():
        width = (width or line.count("|")) if line.startswith("|") else None
        assert width is None or line.count("|") == width, line


def test_a_short_run_says_so():
    assert "too short to be quoted" in report.render(results(quick=True))
    assert "too short to be quoted" not in report.render(results())


def test_a_missing_proxy_is_said_to_be_missing():
    assert "not installed, so not measured" in report.render(results(proxy=None))


def test_a_run_of_one_section_reports_that_section():
    only = {
        key: RESULTS[key] for key in ("quick", "engines", "machine", "generator", "stolen", "took", "micro")
    }
    text = report.render(only)
    assert "## Our own work" in text
    assert "## Through Envoy" not in text


def test_results_survive_json():
    measured = json.loads(json.dumps(results()))
    assert report.render(measured) == report.render(results())


@pytest.mark.long  # loads matplotlib and draws ten plots, which only `make bench` needs
def test_the_same_figures_give_the_same_plots(tmp_path):
    from bench import plots  # noqa: PLC0415

    drawn = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        names = plots.draw(results(), tmp_path / name)
        drawn.append([(tmp_path / name / plot).read_bytes() for plot in names])
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 5
    assert all(content.startswith(b"<?xml") for content in drawn[0])
