"""The findings of checks."""

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """How a check ended for one subject; from the best to the worst."""

    PASS = "pass"  # noqa: S105 - a result, not a secret
    SKIPPED = "skipped"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found about one subject. Never holds a token or a secret.

    Attributes:
        subject: what was examined: a URL, an address, a role.
        detail: what was seen; for a failure also what was expected.
        next_step: what to do; empty if nothing is to be done.
    """

    subject: str
    result: Result
    detail: str
    next_step: str = ""


def passed(subject: str, detail: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(subject, Result.PASS, detail)


def skipped(subject: str, detail: str, next_step: str = "") -> Finding:
    """Return a finding about what could not be examined, or need not be."""
    return Finding(subject, Result.SKIPPED, detail, next_step)


def warned(subject: str, detail: str, next_step: str) -> Finding:
    """Return a finding of what works today and is likely wrong."""
    return Finding(subject, Result.WARN, detail, next_step)


def failed(subject: str, detail: str, next_step: str) -> Finding:
    """Return a finding of what keeps requests from being signed."""
    return Finding(subject, Result.FAIL, detail, next_step)


def worst(findings: list[Finding]) -> Result:
    """Return the worst result; skipped only if nothing was examined."""
    order = list(Result)
    results = [finding.result for finding in findings]
    examined = [result for result in results if result is not Result.SKIPPED]
    return max(examined, key=order.index, default=Result.SKIPPED if results else Result.PASS)
