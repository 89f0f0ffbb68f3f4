"""``exists`` with one test of each element against literals: a search of the list's strings.

The result is that of the macro, errors among them.
"""

from extproc.policy.cel import macros, regex
from extproc.policy.cel.syntax import Tree, arguments, identifier, literal_of


def fast_exists(body: Tree, variable: str, slow: macros.Loop) -> macros.Loop | None:
    """Return the fast way of ``exists(variable, body)``, or None if there is none.

    ``slow``: the macro itself, for maps and for errors.
    """
    if body.data == "relation":
        wanted = _wanted(body, variable)
        if wanted is None:
            return None
        return macros.exists_text(macros.equality_search(wanted), slow=slow, strict=False)
    if body.data != "member_dot_arg" or identifier(body.children[0]) != variable:
        return None
    function, given = str(body.children[1].value), arguments((*body.children, None)[2])
    part = _string(given[0]) if len(given) == 1 else None
    if part is None:
        return None
    if function == "matches":
        search = macros.regex_search(regex.compile_regex(part))
    elif function in macros.TEXT_SEARCHES:
        search = macros.text_search(function, part)
    else:
        return None
    return macros.exists_text(search, slow=slow, strict=True)


def _wanted(body: Tree, variable: str) -> frozenset[str] | None:
    """The strings in ``g == "a"``, ``"a" == g`` and ``g in ["a", "b"]``."""
    operator, right = body.children
    left = operator.children[0]
    if operator.data == "relation_eq":
        if identifier(right) == variable:
            left, right = right, left
        strings = [_string(right)]
    elif operator.data == "relation_in" and right.data == "list_lit":
        strings = [_string(entry) for entry in arguments((*right.children, None)[0])]
    else:
        return None
    wanted = frozenset(string for string in strings if string is not None)
    return wanted if identifier(left) == variable and None not in strings else None


def _string(tree: Tree) -> str | None:
    value = literal_of(tree) if tree.data == "literal" else None
    return value if isinstance(value, str) else None
