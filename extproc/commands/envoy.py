"""``extproc envoy``: prints Envoy's configuration, or checks one for dangerous settings."""

import asyncio
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from extproc.authn.jwks import KeyDocumentError
from extproc.authn.provider import HttpDocuments
from extproc.config import Settings
from extproc.envoyconf.bootstrap import render
from extproc.envoyconf.expectations import expectations_of
from extproc.envoyconf.fragment import render_pieces
from extproc.envoyconf.istio import render_istio
from extproc.envoyconf.lint import CHECKED, Expectations, findings
from extproc.envoyconf.lint_document import UnreadableError, load, parse
from extproc.envoyconf.options import EnvoyOptions

CLEAN, FOUND, UNREADABLE = 0, 1, 2
_LARGEST_DUMP = 64 * 1024 * 1024  # bytes
_WITHOUT_SETTINGS = "without --config: hosts, sizes and TLS are not compared with extproc's own"


def rendered(settings: Settings, options: EnvoyOptions, *, filter_only: bool, istio: bool = False) -> str:
    """Return the bootstrap, or only the pieces for an Envoy that exists, or Istio's resource with them."""
    if istio:
        return render_istio(settings, options)
    return render_pieces(settings, options) if filter_only else render(settings, options)


def check(source: str, settings: Settings | None) -> int:
    """Print a line for each finding, or what was checked; return the exit status.

    ``source``: a file, or the URL of a running Envoy's admin interface.
    """
    try:
        document = _read(source)
    except UnreadableError as error:
        print(f"{source}: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return UNREADABLE
    except KeyDocumentError as error:
        print(f"{source}: {error}; the address of Envoy's admin interface is expected", file=sys.stderr)  # noqa: T201
        return UNREADABLE
    found = findings(document, expectations_of(settings) if settings else Expectations())
    for finding in found:
        print(f"{finding.path}: {finding.message}")  # noqa: T201
    if found:
        return FOUND
    notes = [] if settings else [_WITHOUT_SETTINGS]
    print("\n- ".join([f"{source}: nothing found; checked:", *CHECKED, *notes]))  # noqa: T201
    return CLEAN


def _read(source: str) -> Any:
    if not source.startswith(("http://", "https://")):
        return load(Path(source))
    url = source if urlsplit(source).path.strip("/") else f"{source.rstrip('/')}/config_dump"
    dump = asyncio.run(HttpDocuments(max_bytes=_LARGEST_DUMP).get(url, allow_http=True))
    return parse(dump.body)
