"""``extproc demo``: start the stack, drive it, show a table, stop it (or keep it)."""

import asyncio
import contextlib
import io
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from extproc.commands import health
from extproc.demo import story
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


def run(
    *,
    keep: bool,
    fixed_ports: bool = False,
    client_documents: bool = True,
    replicas: int = 1,
    record: Path | None = None,
) -> bool:
    """Run the demo; return whether everything was as expected.

    Args:
        keep: keep running until Ctrl-C.
        fixed_ports: use the same addresses each time.
        client_documents: whether the provider accepts client id metadata documents.
        replicas: the number of instances of extproc.
        record: an SVG file for what is shown, as a terminal of 80 columns.
    """
    console = Console()
    if record is not None:
        console = Console(record=True, force_terminal=True, color_system="truecolor", width=story.WIDTH)
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
                console.print(story.beginning(stack.addresses), highlight=False)
                table = story.table(console.width)
                with Console(stderr=True).status("Calling tools through Envoy ...") as status:

                    def show(row: Row) -> None:
                        status.update(f"Calling tools through Envoy: {row.who}, {row.how}")
                        table.add_row(*story.cells(row))

                    as_expected = asyncio.run(drive(stack, show))
                    if isinstance(stack, ReplicatedStack):
                        row = shared_row(stack)
                        show(row)
                        as_expected = as_expected and row.expected
                console.print(table)
                if isinstance(stack, ReplicatedStack) and stack.store is None:
                    console.print(how_to_share(), highlight=False, markup=False)
                at = stack.addresses.extproc
                console.print(f"extproc health --address {at}: {_health(at)}", highlight=False)
                exchanges = stack.control("sts", "stats")["calls"]
                story.ending(console, exchanges=exchanges, seconds=time.monotonic() - started)
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
    if record is not None:
        record.write_text(story.picture(console), encoding="utf-8")
    return as_expected


def _health(address: str) -> str:
    """Return what ``extproc health`` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        health.run(None, address, None)
    return printed.getvalue().strip()


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
