"""The rules' part of ``extproc explain``, as a table for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from extproc.dryrun import as_json
from extproc.policy.rules import Decision, Evaluated, Rule


def show_rules(decision: Decision) -> None:
    """Rules, results and the outcome, as a table for people."""
    console = Console()
    facts = as_json(decision)
    table = Table(title="Rules, in the order they are tried", title_justify="left")
    for column in ("kind", "name", "priority", "result", "then"):
        table.add_column(column)
    for kind, entries in (("mapping", decision.evaluated), ("ceiling", decision.ceilings)):
        for entry in entries:
            result = f"error: {entry.error}" if entry.error else "matches" if entry.matched else "no match"
            priority = "last" if entry.rule.priority is None else str(entry.rule.priority)
            # Text: names come from a file, and brackets in them are no markup.
            table.add_row(kind, Text(entry.rule.name), priority, Text(result), Text(_effect(entry)))
    console.print(table)
    show_outcome(console, facts)


def show_outcome(console: Console, facts: Mapping[str, Any]) -> None:
    """What it comes to; ``facts`` are those of ``--json``."""
    allowed = facts["outcome"] == "allow"
    console.print("allowed" if allowed else f"denied: {facts['reason']}", style="green" if allowed else "red")
    shown = ("detail", "mapping", "role_arn", "chained_role_arn", "session_name", "session_duration")
    for name in (*shown, "policy_arns", "policy"):
        value = facts.get(name)
        if value:
            line = f"  {name}: {', '.join(value) if isinstance(value, list) else value}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if allowed and facts["mapping"] is None:
        console.print("  no mapping matched: this is the fallback role", markup=False)


def _effect(entry: Evaluated) -> str:
    rule = entry.rule
    if isinstance(rule, Rule):
        return rule.role_arn or "deny"
    return f"at most {rule.max_mapping}" if rule.max_mapping else "session policy"
