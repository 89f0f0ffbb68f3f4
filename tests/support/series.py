"""Series recorded by Prometheus, written as a test of promtool's in the rules' own time."""

import itertools
import math
import re
import subprocess
import time
from pathlib import Path

import yaml

from support.prometheus import INTERVAL, ROOT, RULES, SPEED

DIRECTORY = ROOT / "tests/series"
_STEP = f"{INTERVAL * SPEED:.0f}s"
_MANY = 40
_MISSED = 3


def metrics_of(rule: dict) -> list[str]:
    """The metrics that a rule reads."""
    return sorted(set(re.findall(r"\b(?:extproc_\w+|up)\b(?=[{\[) ]|$)", rule["expr"])))


def write(rule: dict, samples: list[dict], *, broken_at: float, alerts: list[dict], names: dict[str, str]):
    """Write the test of one alert: no alert just before ``broken_at``, these at the end of the samples.

    ``names``: what is called otherwise in the file than it was in the recording.
    """
    began = min(at for series in samples for at, _ in series["values"])
    ended = max(at for series in samples for at, _ in series["values"])
    if time.time() - ended > _MISSED * INTERVAL:  # nothing is left to scrape
        ended = time.time()
    steps = round((ended - began) / INTERVAL) + 1
    name = rule["alert"]
    fires = [
        {
            "exp_labels": {key: value for key, value in alert["labels"].items() if key != "alertname"},
            "exp_annotations": alert["annotations"],
        }
        for alert in alerts
    ]
    document = {
        "rule_files": [f"../../{RULES.relative_to(ROOT)}"],
        "evaluation_interval": _STEP,
        "tests": [
            {
                "name": name,
                "interval": _STEP,
                "input_series": [
                    {"series": _series(each["metric"]), "values": _values(each, began, steps)}
                    for each in sorted(samples, key=lambda each: _series(each["metric"]))
                    if not _is_padding(each, samples)
                ],
                "alert_rule_test": [
                    {
                        "eval_time": _time(int((broken_at - began) / INTERVAL)),
                        "alertname": name,
                        "exp_alerts": [],
                    },
                    {"eval_time": _time(steps - 1), "alertname": name, "exp_alerts": fires},
                ],
            }
        ],
    }
    text = "# Recorded from the running server by `make alert-series`; do not edit.\n" + yaml.safe_dump(
        document, sort_keys=False, width=1000
    )
    for told, written in names.items():
        text = text.replace(told, written)
    DIRECTORY.mkdir(exist_ok=True)
    path = DIRECTORY / f"{name}.yaml"
    path.write_text(text)
    return path


def check(programs: Path, *paths: Path) -> None:
    """Have promtool run tests; an ``AssertionError`` with what it says if one fails."""
    done = subprocess.run(
        [programs / "promtool", "test", "rules", *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _time(step: int) -> str:
    return f"{step * INTERVAL * SPEED:.0f}s"


def _series(metric: dict) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in sorted(metric.items()) if name != "__name__")
    return f"{metric['__name__']}{{{labels}}}"


def _is_padding(series: dict, samples: list[dict]) -> bool:
    """Whether it is one of very many that stay at 0, which change no sum."""
    name = series["metric"]["__name__"]
    alike = sum(each["metric"]["__name__"] == name for each in samples)
    return alike > _MANY and all(float(value) == 0 for _, value in series["values"])


def _values(series: dict, began: float, steps: int) -> str:
    """One value a step in promtool's notation; what is missing after a sample has gone stale."""
    name = series["metric"]["__name__"]
    at_step = {
        round((at - began) / INTERVAL): _in_rules_time(name, float(value), began)
        for at, value in series["values"]
    }
    written, was_there = [], False
    for step in range(steps):
        if step in at_step:
            written.append(at_step[step])
        else:
            written.append("stale" if was_there else "_")
        was_there = step in at_step
    return " ".join(_run(value, len(list(group))) for value, group in itertools.groupby(written))


def _in_rules_time(name: str, value: float, began: float) -> str:
    """A value; ages and points of time are as much faster as the recording was."""
    if math.isinf(value):
        return "+Inf"
    if name.endswith("_timestamp_seconds"):
        value = (value - began) * SPEED
    elif name.endswith("_age_seconds"):
        value *= SPEED
    return f"{value:.10g}"


def _run(value: str, times: int) -> str:
    if times == 1:
        return value
    if value == "_":
        return f"_x{times}"
    if value in ("stale", "+Inf"):
        return " ".join([value] * times)
    return f"{value}+0x{times - 1}"
