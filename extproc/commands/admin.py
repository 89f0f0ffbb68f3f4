"""``extproc admin``: the admin API of a running server, for people and scripts; thin.

Exit status: 0; 1 if the answer is "no" (not ready, denied, not reloaded); 2 for bad input; 3 if
the server cannot be asked.
"""

import json
import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

from extproc import config

_NO, _BAD_INPUT, _NO_ANSWER = 1, 2, 3
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Call = Callable[..., dict[str, Any]]


@click.group()
def admin() -> None:
    """Look at a running server, and end sessions.

    Exit 0; 1 if the answer is "no" (not ready, denied, not reloaded); 2 for bad input; 3 if the server
    cannot be asked.
    """


def _calls(command: Callable[..., None]) -> Callable[..., None]:
    """Where the server is; the command gets ``call``, which asks it, and ``as_json``."""
    path = click.Path(path_type=Path)

    @click.option("--address", help="HOST:PORT or unix:/path of the admin API.")
    @click.option(
        "--config",
        "config_path",
        type=path,
        help="The configuration that has listen.admin_grpc; nothing else of it is read.",
    )
    @click.option("--ca", type=path, help="For TLS: whom to trust (PEM).")
    @click.option("--cert", type=path, help="For mTLS: our certificate (PEM).")
    @click.option("--key", type=path, help="For mTLS: our private key (PEM).")
    @click.option("--server-name", help="For TLS: the server's name, if not that of the address.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    @wraps(command)
    def connected(
        *,
        address: str | None,
        config_path: Path | None,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        server_name: str | None,
        **options: Any,
    ) -> None:
        from extproc.admin.client import AdminClient, CallError
        from extproc.grpc_server.certificates import CertificateError
        from extproc.grpc_server.channel import ClientTls, connect

        if (address is None) == (config_path is None):
            raise click.UsageError("exactly one of --address and --config is required")
        if ca is None and (cert or key or server_name):
            raise click.UsageError("--cert, --key and --server-name need --ca")
        tls = ClientTls(ca=ca, certificate=cert, private_key=key, name=server_name) if ca else None
        try:
            with AdminClient(connect(address or _configured(config_path), tls)) as client:

                def call(method: str, **fields: Any) -> dict[str, Any]:
                    return client.call(
                        method, {name: value for name, value in fields.items() if value is not None}
                    )

                command(call=call, **options)
        except CertificateError as error:
            _fail(str(error), _BAD_INPUT)
        except CallError as error:
            _fail(str(error), _BAD_INPUT if error.refused else _NO_ANSWER)

    return connected


def _configured(path: Path | None) -> str:
    assert path is not None  # noqa: S101 - one of the two is given
    try:
        address = config.load_listen(path).admin_grpc
    except config.ConfigError as error:
        _fail("\n".join(error.problems), _BAD_INPUT)
    if address is None:
        _fail(f"{path}: listen.admin_grpc is not set", _BAD_INPUT)
    return address


def _fail(message: str, status: int) -> NoReturn:
    click.echo(f"extproc: {message}", err=True)
    sys.exit(status)


def _print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2))


def _conditions(command: Callable[..., None]) -> Callable[..., None]:
    """Whose sessions: all that are given must hold."""
    for name, text in (
        ("role-arn", "Credentials of this role, first or chained."),
        ("jti", "The token with this id."),
        ("subject", "Tokens of this subject."),
        ("issuer", "Tokens of this issuer."),
    ):
        command = click.option(f"--{name}", help=text)(command)
    return command


@admin.command()
@_calls
def status(call: Call, *, as_json: bool) -> None:
    """Say how the server is. Exit 1 if it, or a worker of it, is not ready."""
    from extproc.commands.admin_tables import show_status

    answer = call("GetStatus")
    _print_json(answer) if as_json else show_status(answer["workers"])
    if not all(worker["ready"] for worker in answer["workers"]):
        sys.exit(_NO)


@admin.command()
@_conditions
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="At most so many.")
@_calls
def sessions(call: Call, *, limit: int, as_json: bool, **conditions: str | None) -> None:
    """List open sessions."""
    from extproc.commands.admin_tables import show_sessions

    found: list[dict[str, Any]] = []
    token = ""
    while len(found) < limit:
        answer = call("ListSessions", page_token=token, page_size=min(limit - len(found), 1000), **conditions)
        found += answer["sessions"]
        token = answer["next_page_token"]
        if not token:
            break
    _print_json({"sessions": found, "more": bool(token)}) if as_json else show_sessions(
        found, more=bool(token)
    )


@admin.command()
@click.option("--claims", required=True, type=click.File("rb"), help="A JSON object of claims.")
@click.option("--request", type=click.File("rb"), help="method, path, headers, body (JSON).")
@_calls
def explain(call: Call, *, claims: Any, request: Any, as_json: bool) -> None:
    """Say which role claims would be given by the policy that is running. Exit 1 if none."""
    from extproc.commands.explain import show

    answer = call("Explain", claims=_object(claims), request=_object(request) if request else None)
    facts = answer["explanation"]
    show(facts, as_json=as_json)
    if facts["outcome"] != "allow":
        sys.exit(_NO)


def _object(file: Any) -> dict[str, Any]:
    from extproc import strictjson

    try:
        return strictjson.loads_object(file.read())
    except strictjson.AmbiguousJSONError as error:
        _fail(f"{file.name}: {error}", _BAD_INPUT)


@admin.command()
@_conditions
@click.option("--for", "refused_for", help="How long to refuse them, e.g. 90m, 24h [default: 24h].")
@click.option("--drop-only", is_flag=True, help="Drop sessions and refuse nobody.")
@_calls
def revoke(
    call: Call, *, refused_for: str | None, drop_only: bool, as_json: bool, **conditions: str | None
) -> None:
    """End sessions, and refuse their owners for a while.

    At least one condition is required. With --role-arn credentials are dropped and nobody is refused.
    """
    from extproc.commands.admin_tables import show_revoked

    if drop_only and refused_for:
        raise click.UsageError("--for and --drop-only exclude each other")
    duration = "0s" if drop_only else _duration(refused_for) if refused_for else None
    answer = call("Revoke", duration=duration, **conditions)
    _print_json(answer) if as_json else show_revoked(answer)


def _duration(text: str) -> str:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.UsageError("--for: must be a whole number and s, m, h or d, e.g. 90m")
    return f"{int(match[1]) * _SECONDS[match[2]]}s"


@admin.command()
@_calls
def reload(call: Call, *, as_json: bool) -> None:
    """Read the configuration again. Exit 1, with one line a problem, if it was refused."""
    answer = call("Reload")
    problems: list[str] = answer["problems"]
    if as_json:
        _print_json(answer)
    else:
        click.echo("\n".join(problems) or "reloaded")
    if problems:
        sys.exit(_NO)
