"""Writes the tables of cel-python's grammar: ``python -m support.cel_tables`` (make cel-tables)."""

import json
from typing import Any

import lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

from extproc.policy.cel import grammar


def tables() -> dict[str, Any]:
    """Build the parser and return its tables, as ``lark.tools.serialize`` does, and what they were made of."""
    parser = lark.Lark(grammar.grammar_file().read_text("utf-8"), **grammar.OPTIONS)
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    # Given when they are loaded.
    data["options"] = {name: value for name, value in data["options"].items() if name != "g_regex_flags"}
    return {"made_of": grammar.made_of(), "tables": {"data": data, "memo": memo}}


if __name__ == "__main__":
    grammar.TABLES.write_text(json.dumps(tables(), separators=(",", ":"), sort_keys=True) + "\n", "ascii")
