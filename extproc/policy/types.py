"""Check the types in an expression, as far as they are known without a token.

The types of ``claims`` are those that the configuration declares; ``request``, ``mcp`` and ``agents``
always have the same types. Found are parts that are false, or an error, for all values: a misspelt
claim, a comparison of types that are never equal, a function for another type. Nothing is found where
the types are unknown.
"""

from collections.abc import Callable, Iterable

from extproc.policy import tools
from extproc.policy.cel.errors import shown
from extproc.policy.cel.syntax import (
    Tree,
    arguments,
    identifier,
    literal_of,
    parse,
    path_of,
    string_literal,
    where,
)
from extproc.policy.claims_schema import ANY, REGISTERED, ClaimType, Schema
from extproc.policy.inputs import is_hidden
from extproc.spelling import did_you_mean

_BOOL, _INT, _STRING = ClaimType("bool"), ClaimType("int"), ClaimType("string")
_NUMBERS = frozenset({"int", "uint", "double"})
_ORDERED = frozenset({*_NUMBERS, "string", "bytes", "bool"})
_CONTAINERS = frozenset({"list", "map", "object"})
_SIZED = frozenset({*_CONTAINERS, "string", "bytes"})
_LITERALS = {
    "INT_LIT": "int",
    "UINT_LIT": "uint",
    "FLOAT_LIT": "double",
    "BOOL_LIT": "bool",
    "NULL_LIT": "null",
}
_CONVERSIONS = {
    name: ClaimType(name) for name in ("bool", "bytes", "double", "int", "string", "type", "uint")
}
_CONVERTED = {
    **dict.fromkeys(("double", "int", "uint"), frozenset({*_NUMBERS, "string"})),
    "bool": frozenset({"bool", "string"}),
    "bytes": frozenset({"bytes", "string"}),
    "string": frozenset({*_NUMBERS, "bool", "bytes", "string"}),
}
"""The types that each conversion accepts."""
_HEADERS = "names are in lower case, without credentials and x-amz-*"
_STRING_TESTS = frozenset({"contains", "endsWith", "startsWith", "matches"})
_RELATIONS = {
    "relation_lt": "<", "relation_le": "<=", "relation_gt": ">", "relation_ge": ">=",
    "relation_eq": "==", "relation_ne": "!=", "relation_in": "in",
}  # fmt: skip

_OF_THE_REQUEST: Schema = {
    "agents": ClaimType("list", of=_STRING),
    "request": ClaimType(
        "object",
        members={
            **dict.fromkeys(("method", "path", "host", "target"), _STRING),
            "headers": ClaimType("map", of=_STRING),
        },
    ),
    "mcp": ClaimType(
        "object",
        members={
            **dict.fromkeys(
                ("method", "tool", "resource", "prompt", "protocol_version", "session_id"), _STRING
            ),
            "arguments": ANY,
            "aws": ClaimType(
                "object", members={"known": _BOOL, **dict.fromkeys(tools.COMMAND_MEMBERS, _STRING)}
            ),
            "tool_annotations": ClaimType(
                "object", members={"known": _BOOL, **dict.fromkeys(tools.ANNOTATIONS, _BOOL)}
            ),
        },
    ),
}


def findings(source: str, schema: Schema | None) -> list[str]:
    """Return the faults of an expression.

    Args:
        source: an expression that compiles.
        schema: the types of claims; None if they are not declared.
    """
    claims = ANY if schema is None else ClaimType("object", members={**REGISTERED, **schema})
    checker = _Checker()
    checker.type_of(parse(source), {**_OF_THE_REQUEST, "claims": claims})
    return list(dict.fromkeys(checker.found))


class _Checker:
    """Determines the type of each part, from the leaves up; ``any`` is an unknown type."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def type_of(self, tree: Tree, scope: Schema) -> ClaimType:
        rule: Callable[[Tree, Schema], ClaimType] = getattr(self, f"_{tree.data}")
        return rule(tree, scope)

    def _note(self, tree: Tree, text: str) -> None:
        self.found.append(f"{where(tree)}{text}")

    # Leaves and members.

    def _literal(self, tree: Tree, _scope: Schema) -> ClaimType:
        kind = _LITERALS.get(tree.children[0].type)
        return ClaimType(kind or ("bytes" if isinstance(literal_of(tree), bytes) else "string"))

    def _ident(self, tree: Tree, scope: Schema) -> ClaimType:
        return scope.get(str(tree.children[0].value), ClaimType("type"))

    _dot_ident = _ident

    def _member_dot(self, tree: Tree, scope: Schema) -> ClaimType:
        return self._member(tree, self.type_of(tree.children[0], scope), str(tree.children[1].value))

    def _member_index(self, tree: Tree, scope: Schema) -> ClaimType:
        container, index = (self.type_of(child, scope) for child in tree.children)
        name = string_literal(tree.children[1])
        if name is not None:
            return self._member(tree, container, name)
        if container.kind == "list" and index.kind not in (*_NUMBERS, "any"):
            self._note(tree, f"a list has no element {index}")
        return container.of or ANY

    def _member(self, tree: Tree, container: ClaimType, name: str) -> ClaimType:
        if container.kind == "object":
            return self._declared(tree, tree.children[0], container.members, name)
        if container.kind == "map":
            if path_of(tree.children[0]) == ("request", "headers") and is_hidden(name):
                self._note(tree, f"request.headers never has {name!r}: {_HEADERS}")
            return container.of or ANY
        if container.kind != "any":
            self._note(tree, f"{_shown(tree.children[0])} is {container}, and has no member {name!r}")
        return ANY

    def _declared(self, tree: Tree, container: Tree, members: Schema, name: str) -> ClaimType:
        if name in members:
            return members[name]
        place = shown((*(path_of(container) or ("?",)), name))
        self._note(tree, f"{place} is not declared in claims{did_you_mean(name, members)}")
        return ANY

    # Operators.

    def _expr(self, tree: Tree, scope: Schema) -> ClaimType:
        condition, left, right = (self.type_of(child, scope) for child in tree.children)
        self._want(tree, condition, {"bool"}, "?:")
        return left if left == right else ANY

    def _conditionalor(self, tree: Tree, scope: Schema) -> ClaimType:
        for child in tree.children:
            operator = "||" if tree.data == "conditionalor" else "&&"
            self._want(child, self.type_of(child, scope), {"bool"}, operator)
        return _BOOL

    _conditionaland = _conditionalor

    def _unary(self, tree: Tree, scope: Schema) -> ClaimType:
        operand = self.type_of(tree.children[1], scope)
        if tree.children[0].data == "unary_not":
            self._want(tree, operand, {"bool"}, "!")
            return _BOOL
        self._want(tree, operand, {"int", "double"}, "-")
        return operand

    def _relation(self, tree: Tree, scope: Schema) -> ClaimType:
        operator, right_tree = tree.children
        left_tree = operator.children[0]
        left, right = self.type_of(left_tree, scope), self.type_of(right_tree, scope)
        name = _RELATIONS[operator.data]
        if name == "in":
            self._contained(tree, left_tree, left, right)
        elif not _may_be_equal(left, right):
            result = "never true" if name == "==" else "always true" if name == "!=" else "an error"
            self._note(tree, f"{left} {name} {right} is {result}{_that(left_tree, right_tree)}")
        elif name not in ("==", "!="):
            self._want(tree, left, _ORDERED, name)
        return _BOOL

    def _contained(self, tree: Tree, item: Tree, left: ClaimType, right: ClaimType) -> None:
        self._want(tree, right, _CONTAINERS, "in")
        name = string_literal(item)
        if right.kind == "object" and name is not None:
            self._declared(tree, tree.children[1], right.members, name)
        wanted = _STRING if right.kind in ("map", "object") else right.of or ANY
        if not _may_be_equal(left, wanted):
            self._note(tree, f"{left} in {right} is never true{_that(item, tree.children[1])}")

    def _addition(self, tree: Tree, scope: Schema) -> ClaimType:
        operator, right_tree = tree.children
        left, right = self.type_of(operator.children[0], scope), self.type_of(right_tree, scope)
        if "any" in (left.kind, right.kind):
            return ANY
        wanted = _NUMBERS
        if operator.data == "addition_add":
            wanted = frozenset({*_NUMBERS, "string", "bytes", "list"})
        self._want(tree, left, wanted, "arithmetic")
        if left.kind != right.kind:
            self._note(tree, f"no arithmetic of {left} and {right}")
        return left if left == right else ClaimType(left.kind, of=ANY if left.kind == "list" else None)

    _multiplication = _addition

    # Calls, collections, macros.

    def _ident_arg(self, tree: Tree, scope: Schema) -> ClaimType:
        name = str(tree.children[0].value)
        types = [self.type_of(entry, scope) for entry in arguments(tree)]
        if name == "size":
            self._want(tree, types[0], _SIZED, "size()")
            return _INT
        if name == "matches":
            self._want(tree, types[0], {"string"}, "matches()")
        if name in _CONVERTED:
            self._want(tree, types[0], _CONVERTED[name], f"{name}()")
        return _BOOL if name in ("has", "matches") else _CONVERSIONS.get(name, ANY)

    _dot_ident_arg = _ident_arg

    def _member_dot_arg(self, tree: Tree, scope: Schema) -> ClaimType:
        receiver, token = tree.children[:2]
        name, expressions = str(token.value), arguments(tree)
        values = self.type_of(receiver, scope)
        if name == "size":
            self._want(tree, values, _SIZED, "size()")
            return _INT
        if name in _STRING_TESTS:
            for kind in (values, *(self.type_of(entry, scope) for entry in expressions)):
                self._want(tree, kind, {"string"}, f"{name}()")
            return _BOOL
        self._want(tree, values, _CONTAINERS, f"{name}()")
        element = _STRING if values.kind in ("map", "object") else values.of or ANY
        inner = {**scope, identifier(expressions[0]) or "": element}
        bodies = [self.type_of(body, inner) for body in expressions[1:]]
        for condition in bodies if name != "map" else bodies[:-1]:
            self._want(tree, condition, {"bool"}, f"{name}()")
        if name in ("filter", "map"):
            return ClaimType("list", of=element if name == "filter" else bodies[-1])
        return _BOOL

    def _list_lit(self, tree: Tree, scope: Schema) -> ClaimType:
        return ClaimType("list", of=self._common(arguments(tree), scope))

    def _map_lit(self, tree: Tree, scope: Schema) -> ClaimType:
        parts = arguments(tree)
        names = self._common(parts[::2], scope)
        values = self._common(parts[1::2], scope)
        return ClaimType("map", of=values) if names.kind == "string" else ANY

    def _common(self, trees: Iterable[Tree], scope: Schema) -> ClaimType:
        types = [self.type_of(tree, scope) for tree in trees]
        return types[0] if types and all(kind == types[0] for kind in types) else ANY

    def _want(self, tree: Tree, found: ClaimType, wanted: Iterable[str], operation: str) -> None:
        if found.kind not in ("any", *wanted):
            self._note(tree, f"{operation} is not for {found}")


def _may_be_equal(left: ClaimType, right: ClaimType) -> bool:
    kinds = {left.kind, right.kind}
    if "any" in kinds or kinds <= _NUMBERS or kinds <= {"map", "object"}:
        return True
    if left.kind != right.kind:
        return False
    # Two empty lists are equal whatever they are declared to hold.
    return left.of is None or right.of is None or _may_be_equal(left.of, right.of)


def _that(*trees: Tree) -> str:
    """Return the names of the compared claims, in parentheses; empty if there are none."""
    named = [shown(path) for path in map(path_of, trees) if path is not None]
    return f" ({', '.join(named)})" if named else ""


def _shown(tree: Tree) -> str:
    path = path_of(tree)
    return shown(path) if path else "it"
