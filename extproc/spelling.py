"""Words in messages: hints at names that are misspelt, and numbers with their nouns."""

from collections.abc import Iterable

_ABBREVIATION = 3  # characters


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that is most like ``name``; empty if none is."""
    import difflib  # noqa: PLC0415 - for messages only

    names = list(known)
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not matches and len(name) >= _ABBREVIATION:  # unlike its word: `cert` for `certificate`
        matches = [each for each in names if name in each]
    return f"; did you mean {matches[0]!r}?" if matches else ""


def counted(number: int, singular: str) -> str:
    """Return a number with its noun, in the plural unless it is one: regular nouns only."""
    return f"{number} {singular}" if number == 1 else f"{number} {singular}s"
