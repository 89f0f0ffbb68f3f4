"""The ``extproc`` command: its arguments. Each command imports what it needs when it runs."""

import sys
from pathlib import Path
from typing import Any

import click

from extproc.commands import lean_start
from extproc.commands.envoy_options import rendering_options
from extproc.commands.groups import CommandGroup, Later
from extproc.commands.options import (
    FILE,
    config_options,
    load,
    loader,
    log_level_option,
    or_exit,
    supplement,
    workers_option,
)

_SECTIONS = {
    "Begin": ("init", "import-toolhive", "run", "connect", "demo"),
    "Serve": ("serve", "envoy", "envoy-gateway", "controller", "health"),
    "Examine a configuration": ("check", "schema", "explain", "test", "diff", "aws", "doctor"),
    "Operate": ("admin", "console", "sign"),
}
_LATER = {
    "admin": Later("extproc.commands.admin", "Look at a running server, and end sessions."),
    "aws": Later(
        "extproc.commands.aws",
        "Print the OIDC providers, trust policies and chains that AWS needs, or check what it has.",
    ),
    "connect": Later(
        "extproc.commands.connect", "Print what connects an MCP client to the endpoint, to be pasted."
    ),
    "run": Later("extproc.commands.run", "Run the server and its Envoy together until SIGTERM or Ctrl-C."),
    "schema": Later("extproc.commands.schema", "Print the JSON Schema of the configuration, for editors."),
    "controller": Later(
        "extproc.commands.controller",
        "Write configurations in Kubernetes from the resources of its users.",
    ),
    "diff": Later(
        "extproc.commands.diff",
        "Show who would get another role or denial under another configuration.",
    ),
    "init": Later("extproc.commands.init", "Write a commented configuration for an identity provider."),
}


@click.group(
    cls=CommandGroup,
    sections=_SECTIONS,
    later=_LATER,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="extproc-sigv4")
def main() -> None:
    """Envoy external processor: an OIDC token in, a SigV4-signed request to AWS out."""


@main.command()
@config_options
@log_level_option("The lowest level to log, on standard error.")
@click.option(
    "--engine",
    envvar="EXTPROC_ENGINE",
    show_envvar=True,
    type=click.Choice(["auto", "completion_queue", "aio"]),
    help="The engine that serves the streams [default: listen.engine].",
)
@workers_option("The number of processes; more than one run under a supervisor.")
@click.option("--as-worker", hidden=True, help="What a supervisor assigns to its worker (JSON).")
def serve(config_path: Path, log_level: str, engine: str | None, workers: int, as_worker: str | None) -> None:
    """Run the gRPC server until SIGTERM. SIGHUP, or a change of the file, reloads the configuration."""
    lean_start.prepare()
    from extproc import config
    from extproc.commands.serve import console_command
    from extproc.commands.serve import run as serve_until_stopped
    from extproc.telemetry import logs

    read = loader(config_path)

    def load() -> config.Settings:
        settings = read()
        if engine is None:
            return settings
        listen = settings.listen.model_copy(update={"engine": engine})
        return settings.model_copy(update={"listen": listen})

    logs.configure(log_level)
    sys.exit(
        serve_until_stopped(
            or_exit(load),
            load=load,
            files=[config_path],
            workers=workers,
            as_worker=as_worker,
            console=console_command(config_path, log_level),
        )
    )


@main.command()
@config_options
@log_level_option("The lowest level to log, on standard error.")
@click.option("--lifeline", hidden=True, type=int, help="A pipe that closes when the server ends.")
def console(config_path: Path, log_level: str, lifeline: int | None) -> None:
    """Run the web console of a running server until SIGTERM. `extproc serve` starts it by itself.

    It needs listen.console, listen.admin_grpc and the extra "console".
    """
    lean_start.prepare()
    from extproc.commands.console import run
    from extproc.telemetry import logs

    read = loader(config_path)
    settings = or_exit(read)
    logs.configure(log_level)
    sys.exit(run(settings, load=read, files=[config_path], lifeline=lifeline))


@main.command()
@click.option(
    "--config",
    "config_path",
    type=FILE,
    help="The server's configuration file; only its listen is read.",
)
@click.option("--address", help="HOST:PORT or unix:/path [default: listen.grpc].")
@click.option("--ca", type=FILE, help="With --address: use TLS, and trust this PEM file.")
def health(config_path: Path | None, address: str | None, ca: Path | None) -> None:
    """Check a running server's gRPC health, as a container's probe. Exit 0 if it serves, else 1."""
    from extproc import config
    from extproc.commands.health import run

    if (config_path is None) == (address is None):
        raise click.UsageError("exactly one of --config and --address is required")
    listen = or_exit(lambda: config.load_listen(config_path)) if config_path else None
    sys.exit(run(listen, address, ca))


@main.command()
@config_options
def check(config_path: Path) -> None:
    """Validate a configuration file.

    Exit 0, or 2 with one "path: message (file:line:column)" line for each error.
    """
    from extproc import config
    from extproc.app.factories import build_policy, file_notes, warnings
    from extproc.app.token_exchanges import check_files, missing_folders
    from extproc.commands import cel_check
    from extproc.config import toolhive
    from extproc.policy import review
    from extproc.spelling import counted

    settings = load(config_path)
    or_exit(lambda: check_files(settings))
    policy = build_policy(settings)
    for warning in (*warnings(settings, policy), *cel_check.warnings(settings)):
        click.echo(f"warning: {warning}", err=True)
    for note in (
        *toolhive.notes(config_path, supplement()),
        *config.notes(settings),
        *file_notes(settings),
        *missing_folders(settings),
        *review.notes(policy),
    ):
        click.echo(f"note: {note}", err=True)
    click.echo("\n".join(review.reads(policy)))
    click.echo(review.cost(policy))
    click.echo(
        f"{config_path}: ok ({counted(len(settings.issuers), 'issuer')}, "
        f"{counted(len(settings.targets), 'target')}, {counted(len(settings.role_mappings), 'role mapping')})"
    )


@main.command("import-toolhive")
@click.argument("path", type=FILE)
@click.option("--issuer", help="The issuer of tokens.")
@click.option("--audience", help="The audience of tokens, and the endpoint's URL.")
@click.option("--target", help="The host to sign for.")
@click.option("--name", help="The resource's name, or the proxy's, if there are several.")
def import_toolhive(
    path: Path, issuer: str | None, audience: str | None, target: str | None, name: str | None
) -> None:
    """Print a ToolHive MCPExternalAuthConfig (type awsSts) as a configuration of extproc.

    PATH: YAML of Kubernetes, "-" for standard input. An MCPRemoteProxy that refers to the resource, and its
    MCPOIDCConfig, say what the options say otherwise.
    """
    from extproc import config
    from extproc.config import toolhive

    supplement = toolhive.Supplement(issuer=issuer, audience=audience, target=target, name=name)
    text = sys.stdin.read() if str(path) == "-" else or_exit(lambda: config.read_text(path))
    click.echo(or_exit(lambda: toolhive.native_yaml(text, supplement)), nl=False)
    for note in toolhive.notes_of(text, supplement):
        click.echo(f"note: {note}", err=True)


@main.command()
@config_options
@click.option("--token", type=FILE, help='A file with a token to verify; "-" is standard input.')
@click.option("--claims", type=FILE, help="A JSON file with claims, which count as verified.")
@click.option("--request", type=FILE, help="A JSON file: method, path, headers, body, and more.")
@click.option("--why-not", metavar="ROLE", help="Show what would have to be different for a role or mapping.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(
    config_path: Path,
    token: Path | None,
    claims: Path | None,
    request: Path | None,
    *,
    why_not: str | None,
    as_json: bool,
) -> None:
    """Show what the server would do with a request, and why. Exit 0 allow, 1 deny, 2 bad input.

    A token or claims alone show which role they get. With --request they are the request's token,
    unless it has its own authorization header. STS is not called.
    """
    from extproc.commands.explain import run
    from extproc.telemetry import logs

    if token is not None and claims is not None:
        raise click.UsageError("--token and --claims exclude each other")
    if token is None and claims is None and request is None:
        raise click.UsageError("one of --token, --claims and --request is required")
    settings = load(config_path)
    logs.configure("error")
    sys.exit(run(settings, token=token, claims=claims, request=request, as_json=as_json, why_not=why_not))


@main.command("test")
@config_options
@click.argument("cases", nargs=-1, type=FILE)
@click.option("--coverage", is_flag=True, help="Show which rules, and halves of && and ||, decided no case.")
@click.option("--require-coverage", is_flag=True, help="Fail if --coverage shows any.")
@click.option("--suggest", type=FILE, help="Write cases for what --coverage shows to this new file.")
@click.option("--junit", type=FILE, help="Write the results to this file, as JUnit XML.")
def test_cases(
    config_path: Path,
    cases: tuple[Path, ...],
    *,
    coverage: bool,
    require_coverage: bool,
    junit: Path | None,
    suggest: Path | None,
) -> None:
    """Decide the cases in YAML files, and compare with what they expect.

    CASES: by default the file beside the configuration, as extproc.test.yaml beside extproc.yaml.
    Exit 0 if all pass, 1 if some do not, 2 for bad input.
    """
    from extproc.commands.cases import run
    from extproc.telemetry import logs

    files = cases or (config_path.with_suffix(".test.yaml"),)
    settings = load(config_path)
    logs.configure("error")
    sys.exit(
        run(
            settings,
            files,
            coverage=coverage or require_coverage,
            strict=require_coverage,
            junit=junit,
            suggest=suggest,
        )
    )


@main.command()
@config_options
@click.option("--token", type=FILE, help='A file with a token to follow to AWS; "-" is standard input.')
@click.option("--envoy", "envoy_admin", help="Envoy's admin address, HOST:PORT or a URL.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(config_path: Path, token: Path | None, envoy_admin: str | None, *, as_json: bool) -> None:
    """Check everything on the way of a request, in its order, and say what to do next.

    Exit 0 if nothing failed, 1 if something did, 2 for bad input. With --token the role is
    really assumed, and each MCP target gets a signed call of a tool that does not exist. Nothing
    secret is printed.
    """
    from extproc.commands.doctor import run
    from extproc.telemetry import logs

    settings = load(config_path)
    logs.configure("error")
    sys.exit(run(settings, token=token, envoy=envoy_admin, as_json=as_json))


@main.command()
@click.option(
    "--config",
    "config_path",
    type=FILE,
    help="The configuration file (YAML); optional with --check.",
)
@click.option("--listen", default="127.0.0.1:10000", show_default=True, help="Where clients connect.")
@click.option(
    "--extproc",
    "extproc_addresses",
    multiple=True,
    help="Where Envoy connects to extproc; repeat it for several workers [default: listen.grpc].",
)
@click.option("--admin", default="127.0.0.1:9901", show_default=True, help="Envoy's admin address.")
@click.option(
    "--ca-file",
    default="/etc/ssl/certs/ca-certificates.crt",
    show_default=True,
    help="The CA bundle on Envoy's machine.",
)
@rendering_options
@click.option(
    "--affinity/--no-affinity",
    default=None,
    help="Send all requests with one token to one instance of extproc [default: with several addresses].",
)
@click.option("--filter-only", is_flag=True, help="Print only the pieces for an Envoy that exists.")
@click.option(
    "--for",
    "platform",
    type=click.Choice(["envoy", "istio"]),
    default="envoy",
    show_default=True,
    help="Print a bootstrap for Envoy, or an EnvoyFilter for a gateway of Istio.",
)
@click.option(
    "--selector",
    default="istio=ingressgateway",
    show_default=True,
    help="With --for istio: the label of the gateway's pods.",
)
@click.option(
    "--check",
    "checked",
    metavar="FILE|URL",
    help="Check this Envoy configuration, or a running Envoy's at its admin URL, instead of printing one.",
)
def envoy(
    *,
    config_path: Path | None,
    checked: str | None,
    filter_only: bool,
    platform: str,
    **options: Any,
) -> None:
    """Print a complete Envoy bootstrap (YAML) for a configuration, or check one.

    With --check: exit 0 and what was checked, 1 with one "path: message" line for each finding, 2 if
    unreadable.
    """
    from extproc.commands import envoy as command
    from extproc.envoyconf.options import EnvoyOptions, OptionsError

    settings = load(config_path) if config_path else None
    if checked is not None:
        sys.exit(command.check(checked, settings))
    if settings is None:
        raise click.UsageError("Missing option '--config'.")
    try:
        rendered = command.rendered(
            settings, EnvoyOptions(**options), filter_only=filter_only, istio=platform == "istio"
        )
    except OptionsError as error:
        raise click.UsageError(str(error)) from None
    click.echo(rendered, nl=False)


@main.command("envoy-gateway")
@config_options
@click.option("--gateway", required=True, help="The Gateway, which serves nothing else.")
@click.option("--service", required=True, help="extproc's Service, in the same namespace.")
@click.option("--namespace", default="default", show_default=True, help="The namespace of all resources.")
@click.option("--service-port", type=click.IntRange(1, 65535), help="[default: the port of listen.grpc]")
@click.option(
    "--service-ca",
    default="extproc-ca",
    show_default=True,
    help="With listen.tls: the ConfigMap with extproc's CA (ca.crt).",
)
def envoy_gateway(config_path: Path, **options: Any) -> None:
    """Print Kubernetes resources (YAML) that make Envoy Gateway safe with extproc."""
    from extproc.commands import envoy_gateway as command
    from extproc.envoy_gateway.options import GatewayOptions, NameRefusedError

    settings = load(config_path)
    try:
        given = GatewayOptions(**options)
    except NameRefusedError as error:
        raise click.UsageError(str(error)) from None
    click.echo(command.rendered(settings, given), nl=False)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--compare", "error_body", help="AWS's SignatureDoesNotMatch error; show the first differing line."
)
@click.option("--example", is_flag=True, help="Print a request to begin with, and sign nothing.")
def sign(*, as_json: bool, error_body: str | None, example: bool) -> None:
    """Sign one request, read as JSON from standard input, and show each step.

    Exit 0; 1 if --compare found a difference; 2 for bad input.
    """
    from extproc.commands.sign import EXAMPLE, run

    if example:
        click.echo(EXAMPLE, nl=False)
        return
    sys.exit(run(sys.stdin.buffer.read(), as_json=as_json, error_body=error_body))


@main.command()
@click.option(
    "--keep", is_flag=True, help="Keep running, and print what to paste into MCP clients and shells."
)
@click.option(
    "--ports",
    type=click.Choice(["free", "fixed"]),
    default="free",
    show_default=True,
    help="fixed: the same ports each time (http://localhost:10000/mcp), so that clients stay configured.",
)
@click.option(
    "--no-cimd", is_flag=True, help="Do not accept client id metadata documents, which are on the internet."
)
@click.option("--services", is_flag=True, help="Run only what a gateway stands between, at fixed ports.")
@click.option(
    "--replicas",
    type=click.IntRange(1, 8),
    default=1,
    show_default=True,
    help="Instances of extproc behind Envoy; one exchange of a token serves all.",
)
@click.option("--record", type=FILE, help="Write what is shown to this file, as an SVG.")
def demo(
    *, keep: bool, ports: str, no_cimd: bool, services: bool, replicas: int, record: Path | None
) -> None:
    """Run the embedded stack and drive it with a real MCP client. Needs the extra "demo"."""
    try:
        from extproc.demo.command import run, run_services
    except ModuleNotFoundError as error:
        from extproc.extras import how_to_install

        click.echo(f"extproc demo needs {error.name}: {how_to_install('demo')}", err=True)
        sys.exit(1)
    if services:
        sys.exit(0 if run_services() else 1)
    as_expected = run(
        keep=keep,
        fixed_ports=ports == "fixed",
        client_documents=not no_cimd,
        replicas=replicas,
        record=record,
    )
    sys.exit(0 if as_expected else 1)
