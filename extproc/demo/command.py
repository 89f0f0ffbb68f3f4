"""``extproc demo``: start the stack, drive it, show a table, stop it (or keep it)."""

import asyncio
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from extproc.commands import health
from extproc.demo.driver import Row, drive
from extproc.demo.ports import free_ports
from extproc.demo.replicas import ReplicatedStack, find_store, how_to_share, shared_row
from extproc.demo.settings import FIXED, FIXED_CONSOLE
from extproc.demo.snippets import snippets
from extproc.demo.stack import Stack, StackError

_SERVICES = """\
identity provider  {at.issuer}   (users demo-admin, demo-developer, demo-guest)
STS                http://{at.sts}
MCP server         http://{at.mcp}   (its SigV4 check refuses what is not signed)

They stay up until Ctrl-C. In another terminal, a gateway between them (docs/quickstart.md):

extproc init --idp generic --issuer {at.issuer} --resource {at.resource} \\
  --role arn:aws:iam::123456789012:role/DemoDeveloper --group developers \\
  --target-url http://{at.mcp} --sts-url http://{at.sts} --output extproc.yaml
extproc run --config extproc.yaml"""


def run(*, keep: bool, fixed_ports: bool = False, client_documents: bool = True, replicas: int = 1) -> bool:
    """Run the demo with replicas of extproc; return whether everything was as expected."""
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a log file has no width
    started = time.monotonic()
    # SIGTERM must clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="extproc-demo-") as directory:
        console.print("Starting identity provider, STS emulator, MCP server, extproc and Envoy ...")
        options: dict[str, Any] = {
            "progress": lambda line: console.print(f"  {line}"),
            "addresses": FIXED if fixed_ports else None,
            "client_documents": client_documents,
            "console": _console_address(fixed=fixed_ports) if keep else None,
        }
        stack = (
            Stack(Path(directory), **options)
            if replicas == 1
            else ReplicatedStack(Path(directory), count=replicas, store=find_store(), **options)
        )
        try:
            with stack:
                table = _table()
                with console.status("Calling tools through Envoy ...") as status:

                    def show(row: Row) -> None:
                        status.update(f"Calling tools through Envoy: {row.who}, {row.how}")
                        table.add_row(*_cells(row))

                    as_expected = asyncio.run(drive(stack, show))
                    if isinstance(stack, ReplicatedStack):
                        row = shared_row(stack)
                        show(row)
                        as_expected = as_expected and row.expected
                console.print(table)
                if isinstance(stack, ReplicatedStack) and stack.store is None:
                    console.print(how_to_share(), highlight=False, markup=False)
                at = stack.addresses.extproc
                console.print(f"extproc health --address {at}:", end=" ", highlight=False)
                health.run(None, at, None)
                exchanges = stack.control("sts", "stats")["calls"]
                console.print(
                    f"STS was called {exchanges} times; "
                    f"the whole demo took {time.monotonic() - started:.1f} s."
                )
                if keep:
                    _keep(console, stack)
        except StackError as error:
            console.print(f"[red]extproc demo:[/red] {error}", highlight=False)
            return False
        except KeyboardInterrupt:
            console.print("Stopped.")
            return keep
    verdict = "[green]Everything was as expected.[/green]" if as_expected else "[red]Not as expected.[/red]"
    console.print(verdict)
    return as_expected


def run_services() -> bool:
    """Run the demo's services without a gateway, at fixed addresses, until Ctrl-C; return success."""
    console = Console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="extproc-demo-") as directory:
        stack = Stack(Path(directory), addresses=FIXED)
        try:
            stack.start_services()
            console.print(_SERVICES.format(at=FIXED), highlight=False, markup=False, soft_wrap=True)
            threading.Event().wait()
        except StackError as error:
            console.print(f"[red]extproc demo:[/red] {error}", highlight=False)
            return False
        except KeyboardInterrupt:
            console.print("Stopped.")
        finally:
            stack.stop()
    return True


def _console_address(*, fixed: bool) -> str:
    return FIXED_CONSOLE if fixed else f"127.0.0.1:{free_ports(1)[0]}"


def _table() -> Table:
    table = Table(title="What came of it")
    for column in ("account", "how", "role seen by the upstream"):
        table.add_column(column, overflow="fold")
    table.add_column("cold", justify="right")
    table.add_column("warm", justify="right")
    table.add_column("ok")
    return table


def _cells(row: Row) -> tuple[str, ...]:
    verdict = "[green]yes[/green]" if row.expected else "[red]NO[/red]"
    return (row.who, row.how, row.outcome, _milliseconds(row.cold), _milliseconds(row.warm), verdict)


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"


def _keep(console: Console, stack: Stack) -> None:
    at = stack.addresses
    lines = f"""
The stack stays up until Ctrl-C or SIGTERM.

The console: http://{at.host}:{(stack.console or "").rpartition(":")[2]}
  Log in as demo-admin, who may act, or as demo-developer, who may look. It shows what you have just seen.

{snippets(at.resource)}
To try by hand, paste:

TOKEN=$(curl -s {at.issuer}/token -d grant_type=password -d username=demo-admin -d password=demo \\
  | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')

curl -s {at.resource} -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\
  -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: whoami' \\
  -d '{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"whoami","arguments":{{}},"_meta":{{\
"io.modelcontextprotocol/protocolVersion":"2026-07-28",\
"io.modelcontextprotocol/clientInfo":{{"name":"curl","version":"8"}},\
"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}'

curl -si {at.resource} -d '{{}}'                    # no token: 401 and where to get one
curl -s http://{at.idp}/_control/lifetime -H 'content-type: application/json' \\
  -d '{{"seconds":60}}'                             # tokens for a minute: watch your client refresh
curl -s http://{at.extproc_admin}/metrics | grep ^extproc
{sys.executable} -m extproc health --address {at.extproc}
grpcurl -plaintext {at.extproc} list                # if you have grpcurl: reflection and health
grpcurl -plaintext {at.extproc} grpc.health.v1.Health/Check
curl -s http://{at.sts}/_control/faults -H 'content-type: application/json' \\
  -d '{{"mode":"throttle"}}'                        # make STS throttle; {{"mode":null}} ends it

# One request in three logs: extproc's audit log, Envoy's access log, the upstream's.
curl -s http://{at.envoy}/echo -H "Authorization: Bearer $TOKEN" -d hello; sleep 1
ID=$(tail -1 {stack.directory}/audit.log | sed 's/.*"request_id":"\\([^"]*\\)".*/\\1/')
grep "$ID" {stack.directory}/*.log

Configuration and logs: {stack.directory}
"""
    console.print(lines, highlight=False, markup=False, soft_wrap=True)
    threading.Event().wait()
