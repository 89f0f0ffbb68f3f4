"""``extproc admin``: the admin API of a running server, for people and scripts.

Exit status: 0; 1 if the answer is "no" (not ready, denied, not reloaded); 2 for bad input; 3 if the
server does not answer.
"""

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

_NO, _BAD_INPUT, _NO_ANSWER = 1, 2, 3
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Call = Callable[..., dict[str, Any]]


@click.group()
def admin() -> None:
    """Look at a running server, and end sessions.

    Exit 0; 1 if the answer is "no" (not ready, denied, not reloaded); 2 for bad input; 3 if the server
    does not answer.
    """


def connection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for the connection; ``calling`` takes them."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--server-name", help="For TLS: the server's name, if it differs from the address."),
        click.option("--key", type=path, help="For mTLS: the client's private key (PEM)."),
        click.option("--cert", type=path, help="For mTLS: the client's certificate (PEM)."),
        click.option("--ca", type=path, help="For TLS: the authority to trust (PEM)."),
        click.option("--address", help="HOST:PORT or unix:/path of the admin API."),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def calling(
    *,
    address: str | None,
    config_path: Path | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    server_name: str | None,
) -> Iterator[Call]:
    """Connect, and yield what calls the API; exit with a message if it cannot be called."""
    from extproc.admin.client import AdminClient, CallError
    from extproc.grpc_server.certificates import CertificateError
    from extproc.grpc_server.channel import ClientTls, connect

    if ca is None and (cert or key or server_name):
        raise click.UsageError("--cert, --key and --server-name need --ca")
    tls = ClientTls(ca=ca, certificate=cert, private_key=key, name=server_name) if ca else None
    try:
        with AdminClient(connect(address or _configured(config_path), tls)) as client:

            def call(method: str, **fields: Any) -> dict[str, Any]:
                return client.call(
                    method, {name: value for name, value in fields.items() if value is not None}
                )

            yield call
    except CertificateError as error:
        _fail(str(error), _BAD_INPUT)
    except CallError as error:
        _fail(str(error), _BAD_INPUT if error.refused else _NO_ANSWER)


def _connected(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for the connection. The command gets ``call``, which calls the API, and ``as_json``."""

    @connection_options
    @click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="The configuration; only its listen.admin_grpc is read.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    @wraps(command)
    def wrapper(
        *,
        address: str | None,
        config_path: Path | None,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        server_name: str | None,
        **options: Any,
    ) -> None:
        if (address is None) == (config_path is None):
            raise click.UsageError("exactly one of --address and --config is required")
        with calling(
            address=address, config_path=config_path, ca=ca, cert=cert, key=key, server_name=server_name
        ) as call:
            command(call=call, **options)

    return wrapper


def _configured(path: Path | None) -> str:
    from extproc import config

    assert path is not None  # noqa: S101 - one of the two is given
    try:
        address = config.load_listen(path).admin_grpc
    except config.ConfigError as error:
        _fail("\n".join(error.problems), _BAD_INPUT)
    if address is None:
        _fail(
            f"{path}: listen.admin_grpc is not set; set it, as to unix:/run/extproc/admin.sock",
            _BAD_INPUT,
        )
    return address


def _fail(message: str, status: int) -> NoReturn:
    click.echo(f"extproc: {message}", err=True)
    sys.exit(status)


def _print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2))


def _conditions(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select sessions; a session must meet all that are given."""
    for name, text in (
        ("role-arn", "Credentials of this role, first or chained."),
        ("jti", "The token with this id."),
        ("subject", "Tokens of this subject."),
        ("issuer", "Tokens of this issuer."),
    ):
        command = click.option(f"--{name}", help=text)(command)
    return command


@admin.command()
@_connected
def status(call: Call, *, as_json: bool) -> None:
    """Show the server's status. Exit 1 if it, or one of its workers, is not ready."""
    from extproc.commands.admin_tables import show_status

    answer = call("GetStatus")
    _print_json(answer) if as_json else show_status(answer["workers"])
    if not all(worker["ready"] for worker in answer["workers"]):
        sys.exit(_NO)


@admin.command()
@_conditions
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="The most to list.")
@_connected
def sessions(call: Call, *, limit: int, as_json: bool, **conditions: str | None) -> None:
    """List open sessions."""
    from extproc.admin.messages import MAX_PAGE_SIZE
    from extproc.commands.admin_tables import show_sessions

    found: list[dict[str, Any]] = []
    token = ""
    while len(found) < limit:
        size = min(limit - len(found), MAX_PAGE_SIZE)
        answer = call("ListSessions", page_token=token, page_size=size, **conditions)
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
@_connected
def explain(call: Call, *, claims: Any, request: Any, as_json: bool) -> None:
    """Show which role the running policy would grant to claims. Exit 1 if none."""
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
@click.option("--for", "refused_for", help="How long to refuse their owners, e.g. 90m, 24h [default: 24h].")
@click.option("--drop-only", is_flag=True, help="Drop sessions, and do not refuse their owners.")
@_connected
def revoke(
    call: Call, *, refused_for: str | None, drop_only: bool, as_json: bool, **conditions: str | None
) -> None:
    """End sessions, and refuse their owners for some time.

    At least one condition is required. --role-arn only drops credentials, and refuses nobody.
    """
    from extproc.commands.admin_tables import show_revoked

    if drop_only and refused_for:
        raise click.UsageError("--for and --drop-only exclude each other")
    duration = "0s" if drop_only else _duration(refused_for) if refused_for else None
    answer = call("Revoke", duration=duration, **conditions)
    _print_json(answer) if as_json else show_revoked(answer)
    _check_shared(answer)


def _check_shared(answer: dict[str, Any]) -> None:
    """Exit 1, with the reason, if not every replica has what was done."""
    shared = answer.get("shared")
    if shared is None:
        return
    if shared["problem"]:
        _fail(
            f"the shared store did not take it ({shared['problem']}): it holds here, and reaches others "
            "when the store is back; until then repeat the command at each replica",
            _NO,
        )
    if shared["confirmed"] < shared["replicas"]:
        missing = shared["replicas"] - shared["confirmed"]
        _fail(f"{missing} replicas have not confirmed it; extproc admin status shows whether they live", _NO)


@admin.command()
@_connected
def revocations(call: Call, *, as_json: bool) -> None:
    """List who is refused, and until when."""
    from extproc.commands.admin_tables import show_revocations

    answer = call("ListRevocations")
    _print_json(answer) if as_json else show_revocations(answer["revocations"])


@admin.command()
@click.option("--issuer", help="The revocation's issuer.")
@click.option("--subject", help="The revocation's subject.")
@click.option("--jti", help="The revocation's token id.")
@_connected
def undeny(call: Call, *, as_json: bool, **conditions: str | None) -> None:
    """Take back the revocation with exactly these conditions. Exit 1 if there is none."""
    from extproc.commands.admin_tables import show_shared

    answer = call("LiftRevocation", **conditions)
    if as_json:
        _print_json(answer)
    elif answer["lifted"]:
        click.echo("refused no longer")
        show_shared(answer)
    if not answer["lifted"]:
        _fail(
            "there is no revocation with exactly these conditions; extproc admin revocations lists them", _NO
        )
    _check_shared(answer)


def _duration(text: str) -> str:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.UsageError("--for: must be a whole number and s, m, h or d, e.g. 90m")
    return f"{int(match[1]) * _SECONDS[match[2]]}s"


@admin.command()
@_connected
def shadow(call: Call, *, as_json: bool) -> None:
    """Summarise the decisions under the candidate configuration (the setting shadow).

    Exit 1 if it cannot be used, or gives anybody more.
    """
    from extproc.commands.admin_tables import show_shadow

    answer = call("GetShadow")
    _print_json(answer) if as_json else show_shadow(answer)
    if answer["problems"] or any(each["gives_more"] for each in answer["differences"]):
        sys.exit(_NO)


@admin.command()
@_connected
def reload(call: Call, *, as_json: bool) -> None:
    """Read the configuration again. Exit 1, with one line for each problem, if it was refused.

    What counts only after a restart is listed: "configuration: SETTING needs a restart".
    """
    answer = call("Reload")
    problems: list[str] = answer["problems"]
    if as_json:
        _print_json(answer)
    else:
        click.echo("\n".join(problems) or "reloaded")
        if not problems:
            found = [what for worker in call("GetStatus")["workers"] for what in worker["degraded"]]
            for what in dict.fromkeys(found):
                if what.endswith("needs a restart"):
                    click.echo(what)
    if problems:
        sys.exit(_NO)
