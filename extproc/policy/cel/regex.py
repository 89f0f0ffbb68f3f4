"""Regular expressions: RE2, as in CEL, compiled once from a literal, in time linear in the string."""

from collections.abc import Callable

from extproc.policy.cel.errors import EvaluationError, ExpressionError

COST = 6
"""Units of one search, in addition to one for every 16 bytes."""
BYTES_SHIFT = 4


def compile_regex(pattern: str) -> Callable[[bytes], bool]:
    """Return a function that searches UTF-8 for the pattern.

    Raises:
        ExpressionError: not RE2's syntax, which has no look-around and no back-references, or too large.
    """
    import re2  # noqa: PLC0415 - 2.5 MB that rules without regular expressions do without

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
        if _has_single_octet(pattern):
            raise ExpressionError("regular expression: \\C is not supported")
        # A set with one pattern is searched in half the time of the pattern itself.
        patterns = re2.Set.SearchSet(options)
        wanted = patterns.Add(pattern)
        always = patterns.Add("")
        patterns.Compile()
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ExpressionError(f"regular expression: {text}") from None
    match = patterns.Match

    def search(text: bytes) -> bool:
        found = match(text) or ()
        if always not in found:  # pragma: no cover - no pattern that compiles is known to bring this about
            # A set that runs out of memory answers with nothing instead of an error.
            raise EvaluationError("regular expression: out of memory")
        return wanted in found

    search(b"")
    return search


def _has_single_octet(pattern: str) -> bool:
    r"""Return whether the pattern has ``\C``: Go's package refuses it, in RE2 it splits characters."""
    return "C" in pattern[1:] and any(
        pattern[place : place + 2] == "\\C" and _is_escape(pattern, place) for place in range(len(pattern))
    )


def _is_escape(pattern: str, place: int) -> bool:
    before = pattern[:place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 0
