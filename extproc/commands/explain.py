"""``extproc explain``: reads the files, explains the decision and prints it."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from extproc.authn.token import MAX_TOKEN_BYTES
from extproc.clock import Clock, system_clock
from extproc.config import Settings
from extproc.explain.errors import BadInputError
from extproc.explain.explanation import Explanation
from extproc.explain.facts import facts
from extproc.explain.run import environment_of, explain_claims, explain_request, explain_token
from extproc.explain.text import lines
from extproc.explain.why_not import WhyNot

_MAX_CLAIMS_BYTES = 1024 * 1024
_MAX_REQUEST_BYTES = 256 * 1024 * 1024  # the largest body there can be, as base64 and with room


def run(
    settings: Settings,
    *,
    token: Path | None,
    claims: Path | None,
    request: Path | None,
    as_json: bool,
    why_not: str | None = None,
) -> int:
    """Explain what the files hold and print it; return the exit status."""
    try:
        explanation = asyncio.run(_explained(settings, token, claims, request, system_clock, why_not=why_not))
    except BadInputError as error:
        click.echo(f"extproc: {error}", err=True)
        return 2
    if why_not is not None and explanation.why_not is None:
        explanation = replace(explanation, why_not=WhyNot(why_not, note="the policy was not asked"))
    show(facts(explanation), as_json=as_json)
    return 0 if explanation.allowed else 1


def show(explained: Mapping[str, Any], *, as_json: bool) -> None:
    """Print an explanation."""
    click.echo(json.dumps(explained, indent=2) if as_json else "\n".join(lines(explained)))


async def _explained(
    settings: Settings,
    token: Path | None,
    claims: Path | None,
    request: Path | None,
    clock: Clock,
    *,
    why_not: str | None,
) -> Explanation:
    asked = _read(request, _MAX_REQUEST_BYTES) if request is not None else None
    given = _read(claims, _MAX_CLAIMS_BYTES) if claims is not None else None
    unverified_token = read_token(token) if token is not None else None
    environment = replace(environment_of(settings, clock), why_not=why_not)
    if given is not None:
        return await explain_claims(environment, given, asked)
    if unverified_token is not None:
        return await explain_token(environment, unverified_token, asked)
    if asked is None:
        raise BadInputError("a token, claims or a request are required")
    return await explain_request(environment, asked)


def read_token(source: Path) -> str:
    """Return the token in a file, without the white space around it."""
    # Latin-1 decodes every byte, so that the verifier refuses what is not a token.
    unverified_token = _read(source, _MAX_CLAIMS_BYTES).decode("latin-1").strip()
    if not unverified_token:
        raise BadInputError("the token file is empty; write one token into it")
    return unverified_token


def _read(source: Path, limit: int) -> bytes:
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(source) == "-" else source.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise BadInputError(f"{source}: {error.strerror}; name a file, or - for standard input") from None
    if len(content) > limit:
        raise BadInputError(f"{source}: larger than {limit} bytes; a token has at most {MAX_TOKEN_BYTES}")
    return content
