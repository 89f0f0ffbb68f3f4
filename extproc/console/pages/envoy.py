"""Envoy: the configuration that fits the settings, and what the check says of the one that runs."""

import asyncio
from collections.abc import Sequence

import yaml
from starlette.responses import Response

from extproc.authn.jwks import KeyDocumentError
from extproc.authn.provider import HttpDocuments
from extproc.console.visit import Visit
from extproc.envoyconf.bootstrap import render
from extproc.envoyconf.expectations import expectations_of
from extproc.envoyconf.fragment import render_pieces
from extproc.envoyconf.lint import CHECKED, Finding, findings
from extproc.envoyconf.lint_document import UnreadableError, parse
from extproc.envoyconf.options import EnvoyOptions
from extproc.libyaml import SafeLoader

_LARGEST = 64 * 1024 * 1024  # bytes of Envoy's dump
_LONGEST_PLAIN = 4096  # characters of a scalar without quotes


async def envoy(visit: Visit) -> Response:
    """Return the page; with ``console.envoy_admin`` also what is found in the running configuration."""
    settings = visit.parts.settings
    options = EnvoyOptions()
    address = settings.console.envoy_admin
    found: Sequence[Finding] | None = None
    problem = ""
    if address:
        try:
            dump = await HttpDocuments(max_bytes=_LARGEST).get(
                f"http://{address}/config_dump", allow_http=True
            )
            found = await _found(visit, dump.body)
        except (KeyDocumentError, UnreadableError) as error:
            problem = str(error)
    return visit.html(
        "envoy.html",
        filter_yaml=await asyncio.to_thread(render_pieces, settings, options),
        whole_yaml=await asyncio.to_thread(render, settings, options),
        address=address,
        found=found,
        problem=problem,
        checked=CHECKED,
    )


async def check(visit: Visit) -> Response:
    """Return what is found in a configuration that was pasted."""
    found: Sequence[Finding] | None = None
    problem = ""
    try:
        found = await _found(visit, await asyncio.to_thread(_bounded, visit.form.get("configuration", "")))
    except UnreadableError as error:
        problem = str(error)
    if visit.wants_fragment:
        return visit.html("envoy_findings.html", found=found, problem=problem, checked=CHECKED)
    return visit.html("envoy.html", filter_yaml="", whole_yaml="", address=None, found=found, problem=problem)


def _bounded(text: str) -> bytes:
    """Return a document that was pasted, unless it could cost far more than its size when it is read.

    Raises:
        UnreadableError: it has YAML aliases, which multiply, or a plain scalar that is long enough to be a
            number that takes minutes: YAML 1.1 has integers to base 60.
    """
    try:
        for event in yaml.parse(text, SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise UnreadableError(
                    "YAML aliases are not supported here; `extproc envoy --check` reads them"
                )
            if (
                isinstance(event, yaml.ScalarEvent)
                and event.implicit[0]
                and len(event.value) > _LONGEST_PLAIN
            ):
                raise UnreadableError(f"a value of more than {_LONGEST_PLAIN:,} characters must be in quotes")
    except (yaml.YAMLError, RecursionError):
        raise UnreadableError("not valid YAML or JSON") from None
    return text.encode(errors="replace")


async def _found(visit: Visit, document: bytes) -> list[Finding]:
    def find() -> list[Finding]:
        return findings(parse(document), expectations_of(visit.parts.settings))

    found = await asyncio.to_thread(find)
    # A dump has each static resource twice, with different paths.
    return list({finding.message: finding for finding in found}.values())
