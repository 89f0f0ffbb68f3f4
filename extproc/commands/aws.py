"""``extproc aws``: its arguments."""

import sys
from pathlib import Path

import click

from extproc.commands.options import FILE, config_options, load


@click.command()
@config_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "cli", "terraform", "cloudformation"]),
    default="json",
    show_default=True,
    help="JSON, commands of the AWS CLI, or the file of one account: .tf.json or a template in JSON.",
)
@click.option("--account", help="Only this account [default: all].")
@click.option(
    "--subject", help="A pattern of sub that trust policies ask for, e.g. 'staff-*' [default: any]."
)
@click.option("--session-tags", is_flag=True, help="Tokens carry session tags: allow sts:TagSession.")
@click.option(
    "--source-identity", is_flag=True, help="Tokens carry a source identity: allow sts:SetSourceIdentity."
)
@click.option(
    "--only-through-mcp", is_flag=True, help="Deny calls that do not come through the AWS MCP Server."
)
@click.option(
    "--check",
    "checked_path",
    type=FILE,
    help="Check this: a trust policy, or what get-role or get-open-id-connect-provider prints.",
)
@click.option("--role", help="With --check and a bare policy: the ARN of its role.")
def aws(
    *,
    config_path: Path,
    form: str,
    account: str | None,
    subject: str | None,
    session_tags: bool,
    source_identity: bool,
    only_through_mcp: bool,
    checked_path: Path | None,
    role: str | None,
) -> None:
    """Print the OIDC providers, trust policies and chains that AWS needs, or check what it has.

    With --check: exit 0 without findings, 1 with a "missing: ..." or "too wide: ..." line for each,
    2 if unreadable.
    """
    from extproc.aws.requirements import accounts, notes, warnings
    from extproc.commands import aws_output as command

    settings = load(config_path)
    needed = [
        entry
        for entry in accounts(settings, session_tags=session_tags, source_identity=source_identity)
        if account in (None, entry.account)
    ]
    if not needed:
        raise click.UsageError("no role of the configuration is in this account")
    if checked_path is not None:
        sys.exit(command.check(checked_path, needed, role, subject))
    for warning in warnings(settings):
        click.echo(f"warning: {warning}", err=True)
    for note in notes(settings):
        click.echo(f"note: {note}", err=True)
    try:
        text = command.rendered(form, needed, subject=subject, only_through_mcp=only_through_mcp)
    except command.SeveralAccountsError as error:
        raise click.UsageError(f"--account is required with this format: one of {error}") from None
    click.echo(text, nl=False)
