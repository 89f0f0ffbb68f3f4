"""Checks Envoy: its effective configuration against the settings, and the way of a client through it."""

from extproc import strictjson
from extproc.app.factories import build_resource
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.provider import HttpDocuments
from extproc.doctor.examination import Examination
from extproc.doctor.finding import Finding, failed, passed, skipped, warned
from extproc.envoyconf.expectations import expectations_of
from extproc.envoyconf.lint import findings
from extproc.envoyconf.lint_document import UnreadableError, parse

_LARGEST_DUMP = 64 * 1024 * 1024  # bytes
_START = "start Envoy with what `extproc envoy --config F` prints, or correct --envoy (its admin address)"


async def envoy(examination: Examination) -> list[Finding]:
    """Compare Envoy's effective configuration (``/config_dump``) with what extproc needs."""
    subject = examination.envoy
    if not subject:
        return [skipped("envoy", "no admin address is given", "give --envoy HOST:PORT to check it")]
    try:
        dump = await HttpDocuments(max_bytes=_LARGEST_DUMP).get(f"{subject}/config_dump", allow_http=True)
        found = findings(parse(dump.body), expectations_of(examination.settings))
    except (KeyDocumentError, UnreadableError) as error:
        return [failed(subject, str(error), _START)]
    # A dump has each static resource twice, with different paths.
    by_message = {finding.message: finding.path for finding in found}
    next_step = "compare with what `extproc envoy --config F` prints"
    return [failed(path, message, next_step) for message, path in by_message.items()] or [
        passed(subject, "its effective configuration fits this configuration")
    ]


async def metadata(examination: Examination) -> list[Finding]:
    """Fetch the resource's metadata as a client does: through Envoy, without a token (RFC 9728)."""
    url = build_resource(examination.settings).metadata_url
    try:
        document = await HttpDocuments().get(url, allow_http=True)
        resource = strictjson.loads_object(document.body).get("resource")
    except KeyDocumentError as error:
        next_step = "start Envoy, or correct resource.url; its route must lead through extproc's filter"
        return [warned("resource.url", f"clients cannot find the provider: {error}", next_step)]
    except strictjson.AmbiguousJSONError:
        return [
            warned("resource.url", f"{url} is not JSON", "another server answers there: correct resource.url")
        ]
    if resource != examination.settings.resource.url:
        next_step = "correct resource.url, or add the host to resource.aliases"
        return [failed("resource.url", f"{url} is the metadata of {ascii(resource)[:200]}", next_step)]
    return [passed("resource.url", f"clients find the provider at {url}")]
