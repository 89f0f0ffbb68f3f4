"""Compile a syntax tree to code. Unknown constructs do not compile.

Only declared variables, the standard functions and the macros are known. ``duration`` and
``timestamp`` are refused, since policies have no clock, and so are protobuf messages.
"""

from collections.abc import Callable, Mapping
from typing import Any

from extproc.policy.cel import arithmetic, functions, logic, macros, members, regex
from extproc.policy.cel.budget import Budget
from extproc.policy.cel.code import (
    CONVERSION_COST,
    ENTRY_COST,
    OPERATOR_COST,
    Code,
    Cost,
    Frame,
)
from extproc.policy.cel.conversions import CONVERSIONS
from extproc.policy.cel.errors import CelError, ExpressionError
from extproc.policy.cel.fast_exists import fast_exists
from extproc.policy.cel.operations import (
    REQUEST_VARIABLES,
    Operation,
    constant_code,
    equality_of,
    joined,
    operation_of,
    variable_at,
)
from extproc.policy.cel.syntax import Tree, arguments, identifier, literal_of, negative_of, path_of, where
from extproc.policy.cel.values import CelType, equal, no_overload

_BOOL = CelType.BOOL

_MAPS = REQUEST_VARIABLES | {"claims"}

_OPERATORS: dict[str, tuple[str, Operation]] = {
    "relation_lt": ("<", arithmetic.less),
    "relation_le": ("<=", arithmetic.less_or_equal),
    "relation_gt": (">", arithmetic.greater),
    "relation_ge": (">=", arithmetic.greater_or_equal),
    "relation_eq": ("==", equal),
    "relation_ne": ("!=", lambda left, right, budget: not equal(left, right, budget)),
    "relation_in": ("in", functions.contained),
    "addition_add": ("+", arithmetic.add),
    "addition_sub": ("-", arithmetic.subtract),
    "multiplication_mul": ("*", arithmetic.multiply),
    "multiplication_div": ("/", arithmetic.divide),
    "multiplication_mod": ("%", arithmetic.modulo),
}
_STRING_TESTS: dict[str, Operation] = {
    "contains": functions.contains,
    "endsWith": functions.ends_with,
    "startsWith": functions.starts_with,
}
_UNARY: dict[str, tuple[Callable[[Any, Budget], Any], CelType | None]] = {
    **CONVERSIONS,
    "size": (functions.size, CelType.INT),
}
_MACROS = {"all": 2, "exists": 2, "exists_one": 2, "filter": 2, "map": 3}
"""The maximum number of expressions in a macro. The minimum is two: the variable and one more."""
_ANY_LIST: Cost = (0, 1)


class Compiler:
    """Compiles one expression.

    Attributes:
        faults: messages about parts that fail for every input.
        frame_size: slots of the frame that the code needs.
    """

    def __init__(self, variables: frozenset[str], *, checked: bool = True) -> None:
        self._variables = variables
        self._checked = checked
        self._globals: Mapping[str, Code] = {}
        self.faults: list[str] = []
        self.frame_size = 1

    def compile(self, tree: Tree) -> tuple[Code, Mapping[str, int]]:
        """Return the code, and the slot of each variable in its frame.

        Raises:
            ExpressionError: an undeclared variable, an unknown or refused function, an invalid literal
                or regular expression.
        """
        names = {name: self._new_slot() for name in sorted(self._variables)}
        scope = {
            name: Code(
                variable_at(slot),
                path=(name,),
                type=CelType.MAP if name in _MAPS else None,
                depends=frozenset({name}),
            )
            for name, slot in names.items()
        }
        self._globals = scope
        return self._compile(tree, scope), names

    def _new_slot(self) -> int:
        slot, self.frame_size = self.frame_size, self.frame_size + 1
        return slot

    def _compile(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        rule: Callable[[Tree, Mapping[str, Code]], Code] | None = getattr(self, f"_rule_{tree.data}", None)
        if rule is None:
            raise ExpressionError("protobuf messages are not supported")
        return rule(tree, scope)

    # Leaves.

    def _rule_literal(self, tree: Tree, _scope: Mapping[str, Code]) -> Code:
        return constant_code(literal_of(tree))

    def _rule_ident(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        name = str(tree.children[0].value)
        if name in scope:
            return scope[name]
        try:
            return constant_code(CelType(name))
        except ValueError:
            return self._unknown(tree.children[0], "undeclared variable")

    def _rule_dot_ident(self, tree: Tree, _scope: Mapping[str, Code]) -> Code:
        """Compile ``.claims``: the variable itself, even where a macro's variable has its name."""
        return self._rule_ident(tree, self._globals)

    def _unknown(self, token: Any, what: str) -> Code:
        """Refuse an unknown name or, without ``checked``, return code that fails."""
        message = f"{where(token)}{what} {str(token.value)!r}"
        if self._checked:
            raise ExpressionError(message)

        def fail(_frame: Frame) -> Any:
            raise CelError(message)

        return Code(fail)

    # Operators.

    def _rule_expr(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        condition, left, right = (self._compile(child, scope) for child in tree.children)
        asked = logic.strict(condition.run) if condition.mixed else condition.run
        kind = left.type if left.type is right.type else None
        run = logic.conditional(asked, left.run, right.run)
        return joined(run, condition, left, right, type=kind, passes=True)

    def _rule_conditionalor(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        return self._chain(tree, scope, decisive=True)

    def _rule_conditionaland(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        return self._chain(tree, scope, decisive=False)

    def _chain(self, tree: Tree, scope: Mapping[str, Code], *, decisive: bool) -> Code:
        operands = [self._compile(child, scope) for child in tree.children]
        if any(operand.constant is decisive for operand in operands):
            return constant_code(decisive)
        run = logic.chain(tuple(operand.run for operand in operands), decisive=decisive)
        return self._folded(tree, joined(run, *operands, type=_BOOL, passes=True), *operands)

    def _rule_unary(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        sign, child = tree.children
        if sign.data == "unary_neg" and child.data == "literal" and child.children[0].type == "INT_LIT":
            return constant_code(negative_of(child))
        operand = self._compile(child, scope)
        if sign.data == "unary_not":
            negation = joined(logic.negation(operand.run), operand, type=_BOOL, passes=True)
            return self._folded(tree, negation, operand)
        run = operand.run
        return self._folded(
            tree, joined(lambda frame: arithmetic.negate(run(frame)), operand, type=operand.type), operand
        )

    def _rule_relation(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        return self._binary(tree, scope, _BOOL)

    def _rule_addition(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        return self._binary(tree, scope, None)

    _rule_multiplication = _rule_addition

    def _binary(self, tree: Tree, scope: Mapping[str, Code], result: CelType | None) -> Code:
        operator, right_tree = tree.children
        left, right = self._compile(operator.children[0], scope), self._compile(right_tree, scope)
        name, operation = _OPERATORS[operator.data]
        run = equality_of(left, right) if name == "==" else operation_of(operation, left.run, right.run)
        # A list that is not written out is as long as a list of the claims.
        more = _ANY_LIST if name == "in" and not right.is_constant and right.type is not CelType.LIST else ()
        kind = result or (left.type if left.type is right.type else None)
        own = 1 if name == "==" and str in (type(left.constant), type(right.constant)) else OPERATOR_COST
        return self._folded(tree, joined(run, left, right, type=kind, more=more, own=own), left, right)

    # Members.

    def _rule_member_dot(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        name = str(tree.children[1].value)
        path = path_of(tree)
        if path is not None and scope.get(path[0]) is self._globals.get(path[0]):
            qualified = ".".join(path)
            if qualified in self._globals:  # a variable whose name has dots
                return self._globals[qualified]
        return members.member(self._compile(tree.children[0], scope), name)

    def _rule_member_index(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        operand, index = (self._compile(child, scope) for child in tree.children)
        if isinstance(index.constant, str) and operand.path is not None:
            return members.member(operand, index.constant)
        return self._folded(tree, members.element(operand, index), operand, index)

    # Calls.

    def _rule_ident_arg(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        name, expressions = str(tree.children[0].value), arguments(tree)
        if name == "has":
            return self._has(tree, expressions, scope)
        if name == "matches" and len(expressions) == 2:  # noqa: PLR2004 - the string and the pattern
            return self._matches(tree, expressions[0], expressions[1], scope)
        if name not in _UNARY:
            return self._unknown(tree.children[0], "unknown function")
        return self._unary_call(tree, name, expressions, scope)

    _rule_dot_ident_arg = _rule_ident_arg

    def _rule_member_dot_arg(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        receiver, token = tree.children[:2]
        name, expressions = str(token.value), arguments(tree)
        if name in _MACROS:
            return self._macro(token, receiver, expressions, scope)
        if name == "size":
            return self._unary_call(tree, name, [receiver, *expressions], scope)
        if name not in _STRING_TESTS and name != "matches":
            return self._unknown(token, "unknown function")
        if len(expressions) != 1:
            raise ExpressionError(f"{where(token)}{name}() takes one argument")
        if name == "matches":
            return self._matches(tree, receiver, expressions[0], scope)
        text, part = self._compile(receiver, scope), self._compile(expressions[0], scope)
        run = operation_of(_STRING_TESTS[name], text.run, part.run)
        return self._folded(tree, joined(run, text, part, type=_BOOL), text, part)

    def _unary_call(self, tree: Tree, name: str, expressions: list[Tree], scope: Mapping[str, Code]) -> Code:
        if len(expressions) != 1:
            raise ExpressionError(f"{where(tree)}{name}() takes one argument")
        operand = self._compile(expressions[0], scope)
        function, kind = _UNARY[name]
        run = operand.run
        own = CONVERSION_COST if name in CONVERSIONS else OPERATOR_COST
        code = joined(lambda frame: function(run(frame), frame[0]), operand, type=kind, own=own)
        return self._folded(tree, code, operand)

    def _matches(self, tree: Tree, text: Tree, pattern: Tree, scope: Mapping[str, Code]) -> Code:
        operand, literal = self._compile(text, scope), self._compile(pattern, scope)
        if type(literal.constant) is not str:
            raise ExpressionError(f"{where(tree)}matches() needs a literal pattern, which is checked at load")
        try:
            search = regex.compile_regex(literal.constant)
        except ExpressionError as error:
            raise ExpressionError(f"{where(tree)}{error}") from None
        run = operand.run

        def matches(frame: Frame) -> bool:
            value = run(frame)
            if type(value) is not str:
                raise no_overload("matches()", value)
            frame[0].spend(regex.COST + (len(value) >> regex.BYTES_SHIFT))
            return search(value.encode())

        code = joined(matches, operand, type=_BOOL, more=(regex.COST,))
        return self._folded(tree, code, operand)

    def _has(self, tree: Tree, expressions: list[Tree], scope: Mapping[str, Code]) -> Code:
        if len(expressions) != 1 or expressions[0].data != "member_dot":
            raise ExpressionError(
                f"{where(tree.children[0])}has() needs one member, as in has(claims.groups)"
            )
        return members.has_member(
            self._compile(expressions[0].children[0], scope), str(expressions[0].children[1].value)
        )

    # Collections.

    def _rule_list_lit(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        elements = [self._compile(child, scope) for child in arguments(tree)]
        runs = tuple(element.run for element in elements)
        code = joined(lambda frame: [run(frame) for run in runs], *elements, type=CelType.LIST)
        return self._folded(tree, code, *elements)

    def _rule_map_lit(self, tree: Tree, scope: Mapping[str, Code]) -> Code:
        parts = [self._compile(child, scope) for child in arguments(tree)]
        pairs = tuple((name.run, value.run) for name, value in zip(parts[::2], parts[1::2], strict=True))

        def make(frame: Frame) -> dict[Any, Any]:
            return functions.made_map([(name(frame), value(frame)) for name, value in pairs])

        own = 1 + ENTRY_COST * len(pairs)
        return self._folded(tree, joined(make, *parts, type=CelType.MAP, own=own), *parts)

    # Macros.

    def _macro(self, token: Any, receiver: Tree, expressions: list[Tree], scope: Mapping[str, Code]) -> Code:
        name = str(token.value)
        values = self._compile(receiver, scope)
        variable = identifier(expressions[0]) if expressions else None
        if variable is None:
            raise ExpressionError(f"{where(token)}{name}() needs a variable name first")
        if variable == "__result__":
            raise ExpressionError(f"{where(token)}__result__ is reserved by CEL: choose another name")
        if not 2 <= len(expressions) <= _MACROS[name]:  # noqa: PLR2004
            raise ExpressionError(f"{where(token)}{name}() needs one expression after the variable name")
        slot = self._new_slot()
        path = (*values.path, "[]") if values.path is not None else None
        inner = {**scope, variable: Code(variable_at(slot), path=path, depends=values.depends)}
        bodies = [self._compile(expression, inner) for expression in expressions[1:]]
        loop = macros.loop_of(name, bodies, slot)
        fast = fast_exists(expressions[1], variable, loop) if name == "exists" else None
        return macros.macro(name, values, bodies, *(fast or (loop, macros.round_units(bodies))))

    def _folded(self, tree: Tree, code: Code, *operands: Code) -> Code:
        """Return the value of a part whose operands are all constant; note the fault if that always fails."""
        if not all(operand.is_constant for operand in operands):
            return code
        try:
            return constant_code(code.run([Budget()]))
        except CelError as error:
            self.faults.append(f"{where(tree)}always an error: {error}")
            return code
