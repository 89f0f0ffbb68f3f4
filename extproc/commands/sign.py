"""``extproc sign``: prints the three checkpoints of one request's signature, for people and programs."""

import json
import sys
import time
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from extproc.commands.sign_compare import Difference, NothingToCompareError, first_difference, line_meanings
from extproc.commands.sign_request import BadRequestError, parse, sign
from extproc.signing.sigv4 import Signature

SAME, DIFFERENT, BAD_INPUT = 0, 1, 2
_NEXT_STEP = "; `extproc sign --example` prints a request to begin with"

EXAMPLE = """\
{
  "method": "POST",
  "url": "https://aws-mcp.us-east-1.api.aws/mcp",
  "headers": [["content-type", "application/json"]],
  "body": "{}",
  "region": "us-east-1",
  "service": "aws-mcp",
  "credentials": {
    "access_key_id": "AKIDEXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
  }
}
"""
"""A request to begin with; its credentials are those of AWS's documentation."""


def run(document: bytes, *, as_json: bool, error_body: str | None) -> int:
    """Sign the request and print the checkpoints; return the exit status.

    It is 0, 1 if the comparison found a difference, or 2 for invalid input.
    """
    try:
        signature, headers = sign(parse(document), now=time.time())
        difference = first_difference(signature, error_body) if error_body is not None else None
    except BadRequestError as error:
        print("\n".join(error.problems) + _NEXT_STEP, file=sys.stderr)  # noqa: T201 - a command's answer
        return BAD_INPUT
    except NothingToCompareError:
        print("compare: no canonical string and no string to sign in this text", file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    if as_json:
        answer: dict[str, Any] = {**signature._asdict(), "headers": headers}
        if error_body is not None:
            answer["difference"] = asdict(difference) if difference else None
        print(json.dumps(answer, indent=2))  # noqa: T201
    else:
        _show(
            Console(highlight=False, soft_wrap=True), signature, headers, difference, error_body is not None
        )
    return DIFFERENT if difference else SAME


def _show(
    console: Console,
    signature: Signature,
    headers: dict[str, str],
    difference: Difference | None,
    compared: bool,  # noqa: FBT001 - private
) -> None:
    for number, name, text in (
        (1, "canonical_request", signature.canonical_request),
        (2, "string_to_sign", signature.string_to_sign),
    ):
        console.print(Rule(f"{number}  {name.replace('_', ' ')}", align="left", style="cyan"))
        lines = text.split("\n")
        wrong = difference.line if difference and difference.checkpoint == name else 0
        for line, (meaning, content) in enumerate(zip(line_meanings(name, lines), lines, strict=True), 1):
            row = Text(f"{line:3}  ", style="dim")
            row.append(content, style="bold red" if line == wrong else "bold")
            row.append(f"   {meaning}", style="dim cyan")
            console.print(row)
    console.print(Rule("3  signature", align="left", style="cyan"))
    console.print(Text(f"     {signature.signature}", style="bold green"))
    console.print(Rule("headers to send", align="left", style="cyan"))
    for name, value in headers.items():
        console.print(Text.assemble("     ", (name, "cyan"), ": ", value))
    if compared:
        console.print(Rule("compared with AWS", align="left", style="cyan"))
        _show_difference(console, difference)


def _show_difference(console: Console, difference: Difference | None) -> None:
    if difference is None:
        console.print(Text("     the same: look at the secret key, the session token or the clock", "green"))
        return
    where = f"{difference.checkpoint.replace('_', ' ')}, line {difference.line} ({difference.meaning})"
    console.print(Text(f"     first difference: {where}", style="red"))
    for who, line in (("ours", difference.ours), ("AWS", difference.aws)):
        shown = ("(no such line)", "dim") if line is None else (repr(line), "bold")
        console.print(Text.assemble(f"     {who:>4}: ", shown))
