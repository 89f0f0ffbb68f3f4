"""The service, operation, region and profile of one command of the AWS CLI.

The CLI takes its global options wherever they are, also after the operation, as ``--region x`` and
``--region=x``, and by each unambiguous beginning of their names (``--reg x``), before it reads anything else.
The first two other words are service and operation. ``parse`` does the same, and returns nothing where it
cannot be sure; it accepts less than the CLI. It does not check the operation's own parameters: a command
whose parameters are wrong fails in the CLI, and does nothing.

https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-commandstructure.html
https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-options.html
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from extproc.policy.aws_cli.table import commands
from extproc.policy.aws_cli.words import split

_WITH_VALUE = frozenset(
    {"ca-bundle", "cli-binary-format", "cli-connect-timeout", "cli-error-format", "cli-read-timeout", "color"}
    | {"endpoint-url", "output", "profile", "query", "region"}
)
_FLAGS = frozenset(
    {"cli-auto-prompt", "debug", "no-cli-auto-prompt", "no-cli-pager", "no-paginate", "no-sign-request"}
    | {"no-verify-ssl", "v2-debug", "version"}
)
_GLOBAL = _WITH_VALUE | _FLAGS
"""The global options of both versions. One that a version does not have makes a command fail there."""

_VALUES = {
    # As botocore checks it, in lower case: rules compare regions, and AWS has no other ones.
    "region": re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"),
    "profile": re.compile(r"[A-Za-z0-9_.@+-]{1,128}"),
}


@dataclass(frozen=True, slots=True)
class AwsCommand:
    """One command.

    Attributes:
        service: the service as the CLI names it: ``s3api``, ``deploy``.
        operation: the operation as the CLI names it: ``delete-object``; the custom command: ``cp``.
        region: the value of ``--region``, or None.
        profile: the value of ``--profile``, or None.
        endpoint_url: the value of ``--endpoint-url``, or None.
    """

    service: str
    operation: str
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None


class _UnclearError(Exception):
    """The words have another form, or may mean something else."""


def parse(line: str) -> AwsCommand | None:
    """Return the only command of a command line; None if it has another form or meaning, or none."""
    words = split(line)
    if not words or words[0] != "aws":
        return None
    try:
        service, operation, options = _read(iter(words[1:]))
    except _UnclearError:
        return None
    return AwsCommand(
        service, operation, options.get("region"), options.get("profile"), options.get("endpoint-url")
    )


def _read(words: Iterator[str]) -> tuple[str, str, dict[str, str]]:
    """Return the service, the operation and the global options."""
    names: list[str] = []
    options: dict[str, str] = {}
    for word in words:
        if not word.startswith("-"):
            names.append(word)
        elif name := _global_option(word):
            if name in options:
                raise _UnclearError
            options[name] = _value(name, word, words)
        elif len(names) < 2:  # noqa: PLR2004 - an option of the operation, which may have a value
            raise _UnclearError
    # With either the CLI shows a text in place of running the operation.
    if "version" in options or "help" in names:
        raise _UnclearError
    service, operation = (*names[:2], "", "")[:2]
    if operation not in commands().get(service, ()):
        raise _UnclearError
    return service, operation, options


def _global_option(word: str) -> str | None:
    """Return the full name of a global option; None for other options."""
    name = word.removeprefix("--").partition("=")[0]
    if not word.startswith("--"):
        return None
    if name in _GLOBAL:
        return name
    meant = [option for option in _GLOBAL if option.startswith(name)]
    if len(meant) > 1:  # also "--", which ends the options
        raise _UnclearError
    return meant[0] if meant else None


def _value(name: str, word: str, following: Iterator[str]) -> str:
    _, equals, value = word.partition("=")
    if name in _FLAGS:
        if equals:
            raise _UnclearError
        return ""
    if not equals:
        value = next(following, "-")
        if value.startswith("-"):
            raise _UnclearError
    if name in _VALUES and not _VALUES[name].fullmatch(value):
        raise _UnclearError
    return value
