"""A fast loop for ``exists`` where each element is tested against literals.

Its results are those of the ordinary loop, including its errors.
"""

from extproc.policy.cel import macros, regex
from extproc.policy.cel.syntax import Tree, arguments, identifier, string_literal


def fast_exists(body: Tree, variable: str, slow: macros.Loop) -> tuple[macros.Loop, int] | None:
    """Return a fast loop for ``exists(variable, body)``, and its units for an element; None if there is none.

    ``slow``: the macro itself, for maps and for errors.
    """
    if body.data == "relation":
        wanted = _wanted(body, variable)
        if wanted is None:
            return None
        return macros.exists_string(macros.equality_search(wanted), slow=slow, strict=False), 1
    if body.data != "member_dot_arg" or identifier(body.children[0]) != variable:
        return None
    function, given = str(body.children[1].value), arguments(body)
    part = string_literal(given[0]) if len(given) == 1 else None
    if part is None:
        return None
    if function == "matches":
        search = macros.regex_search(regex.compile_regex(part))
    elif function in macros.STRING_SEARCHES:
        search = macros.string_search(function, part)
    else:
        return None
    # Each element, and a search of its characters, of which there are some 32.
    return macros.exists_string(search, slow=slow, strict=True), 2


def _wanted(body: Tree, variable: str) -> frozenset[str] | None:
    """Return the strings in ``g == "a"``, ``"a" == g`` and ``g in ["a", "b"]``; None for other tests."""
    operator, right = body.children
    left = operator.children[0]
    if operator.data == "relation_eq":
        if identifier(right) == variable:
            left, right = right, left
        strings = [string_literal(right)]
    elif operator.data == "relation_in" and right.data == "list_lit":
        strings = [string_literal(entry) for entry in arguments(right)]
    else:
        return None
    wanted = frozenset(string for string in strings if string is not None)
    return wanted if identifier(left) == variable and None not in strings else None
