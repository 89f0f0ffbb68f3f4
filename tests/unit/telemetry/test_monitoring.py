"""Dashboard and alert rules use only metrics, labels and values that exist, and the runbook covers them."""

import json
import re
from pathlib import Path

import jsonschema
import yaml
from prometheus_client import CollectorRegistry

from extproc.sts.exchange import EXCHANGE_OUTCOMES
from extproc.telemetry.metrics import Metrics
from extproc.token_exchange.errors import TOKEN_EXCHANGE_OUTCOMES
from extproc.workers.metrics import WorkerHealth
from support.tables import each_case
from support.telemetry import SOURCES

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads((ROOT / "docs/monitoring/dashboard.json").read_text())
ALERTS = yaml.load((ROOT / "docs/monitoring/alerts.yaml").read_text(), yaml.CSafeLoader)
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
# Labels that the scrape and the supervisor add, and a variable whose value is any target.
FROM_PROMETHEUS = {"instance", "worker"}
VARIABLES = ("$instance", "$worker", "$target")
_SELECTOR = re.compile(r"\b((?:extproc|process|python)_\w+)\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|=)\s*"([^"]*)"')


def existing():
    """Return the samples' names with their labels and values, before anything was counted."""
    metrics = Metrics(exchange_outcomes=EXCHANGE_OUTCOMES, token_exchange_outcomes=TOKEN_EXCHANGE_OUTCOMES)
    metrics.follow(SOURCES)
    issuers = ["https://idp.example"]
    metrics.expect(
        targets=["aws-mcp"],
        issuers=issuers,
        token_exchanges=issuers,
        break_glass=["incident"],
        rate_limits=["scripts"],
    )
    metrics.follow_certificate(valid_between=lambda: (1.0, 2.0), broken=lambda: False)
    workers = CollectorRegistry()
    WorkerHealth(workers).follow(1, lambda: True)
    found = {}
    for family in (*metrics.registry.collect(), *workers.collect()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def problems(expression):
    """Return what an expression uses that does not exist."""
    expression = expression.replace(',target=~"$target"', "")
    for variable in VARIABLES:
        expression = expression.replace(variable, "all")
    # Prometheus itself makes `up` for each target it scrapes; the product has no such series.
    expression, own = re.subn(r"\bup\{[^}]*\}", "", expression)
    selectors = _SELECTOR.findall(expression)
    assert selectors or own, expression
    samples, labels_known = existing(), set(FROM_PROMETHEUS)
    for name, matchers in selectors:
        if name not in samples:
            yield f"no metric {name}"
            continue
        labels_known |= samples[name].keys()
        for label, _, value in _MATCHER.findall(matchers):
            if label in FROM_PROMETHEUS:
                continue
            for alternative in value.split("|"):
                if alternative not in samples[name].get(label, ()):
                    yield f"{name} has no {label}={alternative!r}"
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        for label in re.split(r",\s*", group):
            if label not in labels_known:
                yield f"no label {label}"
    for bucket in re.findall(r"histogram_quantile\((?:[^()]|\([^()]*\))*", expression):
        if "_bucket" not in expression or "le" not in expression:
            yield f"no buckets in {bucket}"


RULES = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}
PANELS = {
    f"{panel['title']}/{target['refId']}": target
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}


@each_case("name", RULES)
def test_an_alert_uses_existing_metrics_and_is_explained(name):
    rule = RULES[name]
    assert list(problems(rule["expr"])) == []
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


def test_the_scrape_configuration_in_the_documentation_has_the_job_that_the_rules_expect():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/operations.md").read_text(), flags=re.DOTALL)
    (example,) = (yaml.safe_load(block) for block in blocks if "scrape_configs" in block)
    expected = {job for rule in RULES.values() for job in re.findall(r'job="([^"]*)"', rule["expr"])}
    assert {scrape["job_name"] for scrape in example["scrape_configs"]} == expected


def test_each_alert_has_a_section_in_the_runbook_and_each_section_an_alert():
    sections = re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    assert [section.partition("\n")[0] for section in sections] == list(RULES)
    for section in sections:
        parts = re.findall(r"^\*\*(Means|Look at|Do)\*\*: \S", section, flags=re.MULTILINE)
        assert parts == ["Means", "Look at", "Do"], section


def test_each_alert_has_recorded_series_with_which_it_does_not_fire_and_then_does():
    files = {
        path.stem: yaml.load(path.read_text(), yaml.CSafeLoader)
        for path in (ROOT / "tests/series").glob("*.yaml")
    }
    assert sorted(files) == sorted(RULES)
    for name, document in files.items():
        assert document["rule_files"] == ["../../docs/monitoring/alerts.yaml"]
        (test,) = document["tests"]
        before, after = test["alert_rule_test"]
        assert before["alertname"] == after["alertname"] == name
        assert before["exp_alerts"] == []
        assert after["exp_alerts"], name
        assert int(before["eval_time"][:-1]) >= 600, name  # ten minutes of health


def test_the_runbook_names_only_what_exists():
    source = "".join(path.read_text() for path in (ROOT / "extproc").rglob("*.py"))
    for name in set(re.findall(r"`([a-z]+(?:[_.][a-z]+)+)`", RUNBOOK)):
        if name.startswith(("extproc_", "process_")):
            assert any(known in (name, f"{name}_bucket", f"{name}_count") for known in existing()), name
        elif not name.startswith("container_"):  # the kubelet's
            for part in name.split("."):
                assert part in source, name
    for link in re.findall(r"\]\(#(\w+)\)", RUNBOOK):
        assert link in {name.lower() for name in RULES}, link


@each_case("name", PANELS)
def test_a_panel_uses_existing_metrics(name):
    assert list(problems(PANELS[name]["expr"])) == []
    shown = set(re.findall(r"\{\{(\w+)\}\}", PANELS[name]["legendFormat"]))
    assert all(re.search(rf"by \([^)]*\b{label}\b", PANELS[name]["expr"]) for label in shown)


def test_every_important_metric_is_on_the_dashboard():
    shown = " ".join(target["expr"] for target in PANELS.values())
    ours = {name for name in existing() if name.startswith("extproc_")}
    left_out = {
        name for name in ours
        if not name.endswith(("_created", "_sum", "_count")) and name not in shown
    }  # fmt: skip
    assert left_out == {
        "extproc_build_info",
        "extproc_config_reloads_total",
        "extproc_head_checks_total",
        "extproc_shadow_decisions_total",
        "extproc_certificate_start_timestamp_seconds",
        "extproc_config_last_reload_timestamp_seconds",
    }


STEP = {
    "type": "object",
    "required": ["color", "value"],
    "properties": {"color": {"type": "string"}, "value": {"type": ["number", "null"]}},
}
# What Grafana reads of a dashboard (schemaVersion 39), as far as this one uses it.
SCHEMA = {
    "type": "object",
    "required": ["title", "uid", "schemaVersion", "panels", "templating", "time", "description"],
    "properties": {
        "uid": {"type": "string", "maxLength": 40},
        "schemaVersion": {"const": 39},
        "templating": {
            "type": "object",
            "properties": {
                "list": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "label", "type", "query"],
                        "properties": {
                            "type": {"enum": ["datasource", "query"]},
                            "refresh": {"enum": [1, 2]},
                            "sort": {"type": "integer", "minimum": 0, "maximum": 8},
                        },
                    },
                }
            },
        },
        "panels": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "title", "type", "description", "gridPos", "fieldConfig", "targets"],
                "properties": {
                    "type": {"const": "timeseries"},
                    "description": {"type": "string", "minLength": 20},
                    "gridPos": {
                        "type": "object",
                        "required": ["x", "y", "w", "h"],
                        "properties": {"x": {"maximum": 23}, "w": {"minimum": 1, "maximum": 24}},
                    },
                    "fieldConfig": {
                        "type": "object",
                        "required": ["defaults", "overrides"],
                        "properties": {
                            "defaults": {
                                "type": "object",
                                "required": ["unit", "thresholds"],
                                "properties": {
                                    "thresholds": {
                                        "type": "object",
                                        "required": ["mode", "steps"],
                                        "properties": {
                                            "mode": {"enum": ["absolute", "percentage"]},
                                            "steps": {"type": "array", "minItems": 1, "items": STEP},
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "targets": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "object", "required": ["refId", "expr", "legendFormat"]},
                    },
                },
            },
        },
    },
}


def test_the_dashboard_is_what_grafana_reads():
    jsonschema.validate(DASHBOARD, SCHEMA)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        assert values[0] is None, panel["title"]
        assert values[1:] == sorted(values[1:]), panel["title"]


def test_every_panel_follows_the_chosen_replicas_and_workers_and_those_of_targets_the_targets():
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "instance", "worker", "target"]
    for name, target in PANELS.items():
        for metric, matchers in _SELECTOR.findall(target["expr"]):
            assert 'instance=~"$instance"' in matchers, name
            assert 'worker=~"$worker"' in matchers, name
            has_target = "target" in existing().get(metric, ())
            assert ('target=~"$target"' in matchers) is has_target, (name, metric)


def test_panels_do_not_overlap():
    taken = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(taken)) == len(taken)


@each_case(
    "wrong",
    ["extproc_nothing", 'extproc_ready{pod="x"}', "sum by (user) (extproc_ready)",
     'extproc_requests_total{reason="no_such_reason"}'],
)  # fmt: skip
def test_the_check_itself_finds_what_does_not_exist(wrong):
    assert list(problems(wrong))
