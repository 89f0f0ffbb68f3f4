"""Checks the configuration for what is valid and yet likely wrong."""

from extproc.app.factories import build_policy, warnings
from extproc.doctor.examination import Examination
from extproc.doctor.finding import Finding, passed, warned


async def configuration(examination: Examination) -> list[Finding]:
    """Review the settings as ``extproc check`` does."""
    settings = examination.settings
    found = []
    for warning in warnings(settings, build_policy(settings)):
        path, _, message = warning.partition(": ")
        found.append(warned(path, message, "correct the file, or accept it: `extproc check` explains more"))
    return found or [passed("file", "valid, and nothing in it is likely wrong")]
