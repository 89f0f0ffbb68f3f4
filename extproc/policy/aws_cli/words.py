"""Split a command line into words, as POSIX shells and Python's ``shlex`` both do.

Where these might differ, or where a shell would do more than split, there is no result: unquoted
``| & ; < > ( ) { } #``, expansions with ``$`` and backticks outside of single quotes, control characters
including line feeds, and characters beyond ASCII outside of quotes, which some programs take for quotes,
dashes or spaces.
"""

import re

LONGEST = 8192
"""Characters of a command line."""

MOST_PARTS = 1024
"""Words, spaces and quoted strings of a command line: each takes the event loop about two microseconds."""

_PART = re.compile(
    r"""(?P<space>[ \t]+)
    | '(?P<literal>[^']*)'
    | "(?P<quoted>(?:[^"\\$`] | \\[^$`])*)"
    | \\(?P<escaped>[ -~])
    | (?P<plain>[]!%*+,./0-9:=?@A-Z^_a-z~[-]+)
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\([\"\\])")  # POSIX 2.2.3: a backslash before any other character stays
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def split(line: str) -> list[str] | None:
    """Return the words of a command line; None if it may be read in more than one way."""
    if len(line) > LONGEST or _CONTROL.search(line):
        return None
    words: list[str] = []
    in_word, position, parts = False, 0, 0
    while position < len(line):
        part, parts = _PART.match(line, position), parts + 1
        if part is None or parts > MOST_PARTS:
            return None
        position = part.end()
        kind, value = part.lastgroup, part[part.lastgroup or 0]
        if kind == "space":
            in_word = False
            continue
        if kind == "quoted":
            value = _ESCAPE.sub(r"\1", value)
        if in_word:
            words[-1] += value
        else:
            words.append(value)
        in_word = True
    return words
