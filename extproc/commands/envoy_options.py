"""Options for Envoy's side, which ``extproc envoy`` and ``extproc run`` share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def rendering_options(command: _Command) -> _Command:
    """Add the options of ``EnvoyOptions`` that describe Envoy's machine, its filter and its certificates."""
    for option in reversed(
        (
            click.option(
                "--placement",
                default="http",
                type=click.Choice(["http", "upstream"]),
                show_default=True,
                help="Put the filter into the listener, or into the targets' clusters.",
            ),
            click.option(
                "--jwt-authn", is_flag=True, help="Let Envoy verify tokens too, before extproc does."
            ),
            click.option("--tls-cert", help="A certificate chain on Envoy's machine, for TLS with clients."),
            click.option("--tls-key", help="The private key to --tls-cert."),
            click.option(
                "--extproc-ca", help="A CA on Envoy's machine, for TLS with extproc [default: --ca-file]."
            ),
            click.option("--extproc-cert", help="Envoy's own certificate chain for extproc (mTLS)."),
            click.option("--extproc-key", help="The private key to --extproc-cert."),
            click.option(
                "--extproc-name",
                help="The name in extproc's certificate [default: the host of its address].",
            ),
        )
    ):
        command = option(command)
    return command
