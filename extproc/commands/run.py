"""``extproc run``: its arguments."""

import sys
from pathlib import Path
from typing import Any

import click

from extproc.commands.envoy_options import rendering_options
from extproc.commands.options import FILE, config_options, load, log_level_option, workers_option


@click.command()
@config_options
@click.option("--envoy", "program", type=FILE, help="The Envoy to run [default: on the PATH].")
@click.option(
    "--listen",
    help="Where clients connect [default: the port of resource.url if that is on this machine, "
    "else 127.0.0.1:10000].",
)
@click.option("--admin", default="127.0.0.1:9901", show_default=True, help="Envoy's admin address.")
@click.option("--ca-file", help="The CA bundle that Envoy trusts [default: the system's].")
@rendering_options
@workers_option("The number of server processes.")
@log_level_option("The lowest level that the server logs.")
@log_level_option("The lowest level that Envoy logs.", name="--envoy-log-level", default="warning")
def run(*, config_path: Path, **options: Any) -> None:
    """Run the server and its Envoy together until SIGTERM or Ctrl-C.

    Envoy's configuration is rendered from the same file. If one of the two ends, the other is stopped.
    SIGHUP, or a change of the file, reloads the server's configuration. Exit 0 after a signal; 1 if a
    part did not start or has ended by itself; 2 for bad input.
    """
    from extproc.commands import run_gateway

    sys.exit(run_gateway.run(load(config_path), config_path, **options))
