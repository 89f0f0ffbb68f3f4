"""``extproc connect``: its arguments."""

from pathlib import Path

import click

from extproc.commands.options import FILE, load

# As in extproc.connect.clients, which a test compares.
CLIENTS = (
    "claude",
    "claude-code",
    "codex",
    "cursor",
    "inspector",
    "opencode",
    "python",
    "typescript",
    "vscode",
    "windsurf",
)


@click.command()
@click.argument("client", type=click.Choice(CLIENTS), metavar="CLIENT")
@click.option("--config", "config_path", type=FILE, help="The configuration file, for its resource.url.")
@click.option("--url", help="The endpoint's URL [default: resource.url].")
@click.option("--name", default="aws", show_default=True, help="What the client calls the endpoint.")
@click.option("--client-id", help="A public client of the identity provider [default: the client gets one].")
def connect(client: str, config_path: Path | None, url: str | None, name: str, client_id: str | None) -> None:
    """Print what connects an MCP client to the endpoint, to be pasted.

    CLIENT: claude (Desktop), claude-code, codex, cursor, inspector, opencode, vscode, windsurf; python or
    typescript for a program that logs in with the official SDK.
    """
    from extproc.connect.clients import CLIENTS as TEXTS
    from extproc.connect.endpoint import Endpoint, EndpointError

    if url is None:
        if config_path is None:
            raise click.UsageError("one of --config and --url is required")
        url = load(config_path).resource.url
    try:
        endpoint = Endpoint(url, name=name, client_id=client_id)
    except EndpointError as error:
        raise click.UsageError(str(error)) from None
    click.echo(TEXTS[client](endpoint), nl=False)
