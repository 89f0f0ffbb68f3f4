"""What the demo tells: who logs in where, what extproc decided and why, what AWS saw, what to try next."""

import re

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from extproc.demo.driver import MODES, Row
from extproc.demo.settings import Addresses

WIDTH = 80
"""Columns of the narrowest terminal in which everything is readable."""
_WIDE = 100


def beginning(addresses: Addresses) -> RenderableType:
    """Return who the parts are and where users log in."""
    at = addresses
    parts = Table.grid(padding=(0, 2))
    parts.add_row("[bold]people[/]", f"log in at the identity provider, {at.issuer}")
    parts.add_row("", "demo-admin: group admins; demo-developer: developers; demo-guest: none")
    parts.add_row("[bold]Envoy[/]", f"takes their calls at {at.resource}, with a token")
    parts.add_row("[bold]extproc[/]", "verifies the token, chooses a role by rules, and signs the call")
    parts.add_row("[bold]STS[/]", f"gives credentials of the role, at http://{at.sts}")
    parts.add_row("[bold]target[/]", f"is an MCP server behind SigV4, at http://{at.mcp}")
    return Group(Text("\nWho logs in where", style="bold cyan"), parts)


def table(columns: int = WIDTH) -> Table:
    """Return the empty table of calls, for a console of so many columns."""
    rows = Table(title="What was called, and what came of it", title_style="bold cyan", show_lines=True)
    rows.add_column("who calls, how", width=20, overflow="fold")
    rows.add_column("extproc decided, because", ratio=1, overflow="fold")
    rows.add_column("AWS saw", width=23 if columns < _WIDE else 31, overflow="fold")
    rows.add_column("ok", width=3)
    return rows


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of one call."""
    verdict = "[green]yes[/green]" if row.expected else "[red]NO[/red]"
    who = f"[bold]{row.who}[/bold]\n{'MCP ' if row.how in MODES else ''}{row.how}"
    if row.cold is not None and row.warm is not None:
        who += f"\n[dim]first {row.cold * 1000:.0f} ms, then {row.warm * 1000:.1f} ms[/dim]"
    kind, _, why = row.decided.partition(", ")
    colour = {"allow": "green", "deny": "yellow"}.get(kind)
    decided = f"[{colour}]{kind}[/{colour}] {escape(why)}" if colour else escape(row.decided)
    saw = f"nothing: {row.outcome}" if kind == "deny" else row.outcome
    return (who, decided, escape(saw), verdict)


def ending(console: Console, *, exchanges: int, seconds: float) -> None:
    """Show what the columns mean, and what to try next."""
    console.print(
        f"""
[bold cyan]What that shows[/]
STS was called {exchanges} times: once a session, not once a call. The whole demo took
{seconds:.1f} s. The target never got a token, and no user another user's role.
[bold]MCP 2025-11-25[/] begins with `initialize` and keeps a session; since [bold]2026-07-28[/]
each request stands by itself, and names its tool in headers too: extproc
compares these with the body. One endpoint serves both.

[bold cyan]What to try next[/]
  make demo ARGS="--keep --ports fixed"   stays up, for your own MCP client
  docs/quickstart.md                      with a configuration of your own
  extproc init --list                     for which identity providers
  extproc explain --help                  what would be decided, and why
""",
        highlight=False,
        soft_wrap=True,
    )


def picture(console: Console) -> str:
    """Return what a recording console has shown, as an SVG that loads nothing from elsewhere."""
    drawn = console.export_svg(title="make demo", unique_id="demo")
    return re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)
