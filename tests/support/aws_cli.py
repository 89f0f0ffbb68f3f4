"""The AWS CLI's own tables and parsers (the package ``awscli``, version 1), for data that is committed.

python -m support.aws_cli commands   the services and operations (extproc/policy/aws_cli/commands.txt)
python -m support.aws_cli record     what it reads in tests/unit/policy/aws_cli/lines.txt
"""

import contextlib
import io
import json
import shlex
import sys
from pathlib import Path

from awscli import __version__
from awscli.argparser import ServiceArgParser
from awscli.clidriver import create_clidriver

ROOT = Path(__file__).parents[2]
LINES = ROOT / "tests/unit/policy/aws_cli/lines.txt"
RECORDED = LINES.with_name("recorded.json")

OF_VERSION_2 = {
    "configure": [
        "export-credentials",
        "import",
        "list-profiles",
        "mfa-login",
        "sso",
        "sso-session",
    ],
    "ec2-instance-connect": ["open-tunnel", "ssh"],
    "logs": ["tail"],
    "sso": ["login", "logout"],
}
"""Custom commands that only version 2 has."""


def operations(command):
    table = (
        command._get_command_table() if hasattr(command, "_get_command_table") else command.subcommand_table
    )
    return {name: entry for name, entry in table.items() if name != "help"}


def commands():
    """Return the lines of commands.txt."""
    table = create_clidriver()._get_command_table()
    named = {name: {*operations(table[name]), *OF_VERSION_2.get(name, ())} for name in sorted(table)}
    return [
        f"# The services and operations of the AWS CLI {__version__}; made by make aws-commands.",
        *(" ".join([name, *sorted(entries)]) for name, entries in named.items() if entries),
    ]


def read(driver, line):
    """Return service, operation, region and profile as the CLI reads them, or None for an error."""
    table = driver._get_command_table()
    try:
        words = shlex.split(line)
        if words[:1] != ["aws"]:
            return None
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            options, rest = driver._create_parser(table).parse_known_args(words[1:])
            parser = ServiceArgParser(operations(table[options.command]), options.command)
            operation = parser.parse_known_args(rest)[0].operation
    except (ValueError, SystemExit):
        return None
    return [options.command, operation, options.region, options.profile]


def main(what):
    if what == "commands":
        print("\n".join(commands()))  # noqa: T201
        return
    driver = create_clidriver()
    lines = LINES.read_text().splitlines()
    rows = [json.dumps([line, read(driver, json.loads(line))]) for line in lines if line]
    RECORDED.write_text("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main(sys.argv[1])
