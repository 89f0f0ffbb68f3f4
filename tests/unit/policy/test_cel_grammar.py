"""The prepared tables of CEL's parser: the same trees as the parser that cel-python builds, or not used."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import lark
import pytest

from extproc.policy.cel import grammar

LOCK = Path("requirements/dev.txt").read_text("ascii")
LOCKED = all(
    re.search(rf"^{name}=={re.escape(version(name))}\b", LOCK, re.MULTILINE)
    for name in ("lark", "cel-python")
)
EXPRESSIONS = [
    '"developers" in claims.groups && !has(claims.act)',
    "a || b && c || !d && !!e",
    "a ? b : c ? d : e",
    "-1 + 2 * 3 - 4 / 5 % 6 < - 7",
    "a == b && c != d && e < f && g <= h && i > j && k >= l && m in n",
    "[] + [1, 2u, 0x1F, 0x1fU, 1.5, .5, 1e3, -1.5E-3]",
    '{"a": 1, true: false, null: [{}]}["a"]',
    ".a.b.c(d, e)[f].g",
    "f() && .f(1) && x.f() && x.f(y, z)",
    "a.b{c: d, e: f}",
    "claims.groups.exists(g, g.startsWith('team-')) && claims.groups.all(g, size(g) < 64)",
    r"""r'a\d' + R"b" + b'\xff' + br"c" + '''a
b''' + c" """,
    "true && false || trueish && null",
    "a // a comment\n  && b",
    "(((((a)))))",
    "1.a", "a.", "a b", "a &&", "(a", "'", "a = b", "", "?", "a.true", "{1: }", "[1,]", "[,]", "a[1", "1 +\n+ 2", "é",
]  # fmt: skip


def outcome(parser, source):
    """The tree with the places of all its nodes, or the place and kind of the error."""
    try:
        tree = parser.parse(source)
    except lark.exceptions.LarkError as error:
        return type(error), getattr(error, "line", None), getattr(error, "column", None)
    return [
        (node.data, vars(node.meta), [child if isinstance(child, str) else None for child in node.children])
        for node in tree.iter_subtrees_topdown()
    ]


@pytest.mark.skipif(not LOCKED, reason="lark or cel-python is not the locked one")
def test_the_tables_are_for_the_locked_lark_and_cel_python():
    assert grammar.from_tables(grammar.TABLES) is not None, "run make cel-tables"


def test_the_prepared_parser_gives_the_same_trees_and_errors_as_the_one_that_is_built():
    prepared, built = grammar.parser(), grammar.built()
    for source in EXPRESSIONS:
        assert outcome(prepared, source) == outcome(built, source), source


@pytest.mark.parametrize("name", ["lark", "cel.lark", "celparser.py"])
def test_tables_of_another_grammar_or_lark_are_not_used(tmp_path, name, monkeypatch):
    document = json.loads(grammar.TABLES.read_bytes())
    document["made_of"] = grammar.made_of() | {name: "another"}
    other = tmp_path / "tables.json"
    other.write_text(json.dumps(document))
    assert grammar.from_tables(other) is None
    monkeypatch.setattr(grammar, "TABLES", other)
    assert grammar.parser() is grammar.built()


def test_without_tables_the_parser_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(grammar, "TABLES", tmp_path / "none.json")
    assert grammar.parser() is grammar.built()
