"""What the demo tells about its calls."""

import asyncio
import io
import json

import pytest
from rich.console import Console

from extproc.demo import story
from extproc.demo.decisions import DIRECT, Decisions
from extproc.demo.driver import Row
from extproc.demo.settings import FIXED, extproc_yaml

ALLOWED = {"decision": "allow", "reason": "", "detail": "", "mapping": "admins"}
DENIED = {"decision": "deny", "reason": "no_role", "detail": "no mapping matched", "mapping": None}


@pytest.fixture
def decisions(tmp_path):
    (tmp_path / "extproc.yaml").write_text(extproc_yaml(FIXED))
    (tmp_path / "audit.log").write_text("")
    return Decisions(tmp_path)


def logged(tmp_path, *events):
    with (tmp_path / "audit.log").open("a") as log:
        log.writelines(json.dumps(event) + "\n" for event in events)


def test_each_decision_is_told_once_with_its_rule_or_its_reason(decisions, tmp_path):
    logged(tmp_path, ALLOWED, {**ALLOWED, "decision": "reply"})
    assert asyncio.run(decisions.latest("x", denied=False)) == (
        'allow, by mapping admins: "admins" in claims.groups'
    )
    logged(tmp_path, DENIED, ALLOWED)
    assert asyncio.run(decisions.latest("x", denied=True)) == "deny, no_role: no mapping matched"
    assert asyncio.run(decisions.latest(DIRECT, denied=True)) == "was not asked"


def test_a_stack_whose_audit_log_is_elsewhere_has_no_decisions(tmp_path):
    (tmp_path / "extproc.yaml").write_text(extproc_yaml(FIXED))
    assert asyncio.run(Decisions(tmp_path).latest("x", denied=False)) == ""


def test_everything_is_readable_at_80_columns_and_the_recording_loads_nothing():
    console = Console(record=True, force_terminal=True, width=story.WIDTH, file=io.StringIO())
    console.print(story.beginning(FIXED))
    table = story.table(console.width)
    rows = [
        Row(
            "demo-admin",
            "2026-07-28",
            "DemoAdmin as demo-admin",
            True,
            0.03,
            0.004,
            "allow, by mapping a: [x]",
        ),
        Row("demo-guest", "has no role", "refused with 403", False, decided="deny, no_role: none"),
    ]
    for row in rows:
        table.add_row(*story.cells(row))
    console.print(table)
    story.ending(console, exchanges=6, seconds=1.0)
    shown = console.export_text(clear=False)
    assert max(map(len, shown.splitlines())) <= story.WIDTH
    assert "@font-face" not in story.picture(console)
    for part in ("DemoAdmin as demo-admin", "[x]", "nothing: refused", "NO", "What to try next"):
        assert part in shown
