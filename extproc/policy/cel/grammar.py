"""The parser of cel-python's grammar. Only ``syntax`` and this module use cel-python and lark.

Lark takes a fifth of a second to build a parser from a grammar, and cel-python imports its evaluators to
ask for that. So the tables of the parser are made beforehand: ``tables.json``, by ``make cel-tables``. They
are used for exactly the grammar, options and lark that they were made of; otherwise cel-python builds its
parser.
"""

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import lark

TABLES = Path(__file__).with_name("tables.json")
OPTIONS: dict[str, Any] = {
    "parser": "lalr",
    "start": "expr",
    "g_regex_flags": re.MULTILINE,
    "propagate_positions": True,
    "maybe_placeholders": False,
    "priority": "invert",
}
"""The options of ``celparser.py``, except ``debug``, which prints."""


def parser() -> lark.Lark:
    """Return the parser for the installed grammar."""
    return from_tables(TABLES) or built()


def built() -> lark.Lark:
    """Return the parser that cel-python builds."""
    from celpy.celparser import CELParser  # noqa: PLC0415 - it imports much, and is rarely needed

    CELParser()  # keeps the parser in its class
    found: lark.Lark = CELParser.CEL_PARSER
    return found


def from_tables(file: Path) -> lark.Lark | None:
    """Return the parser that a file of tables describes; None if it was not made of what is installed."""
    try:
        document = json.loads(file.read_bytes())
    except OSError:
        return None
    if document["made_of"] != made_of():
        return None
    tables = _with_integers(document["tables"])
    options = {"lexer_callbacks": {"IDENT": _bool_or_name}, "g_regex_flags": OPTIONS["g_regex_flags"]}
    tables["data"]["options"].update(options)
    return lark.Lark.load(tables)


def made_of() -> dict[str, str]:
    """Return what tables depend on: the version of lark, the digests of cel-python's grammar and options."""
    files = (grammar_file(), grammar_file().with_name("celparser.py"))
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return {"lark": lark.__version__, **digests}


def grammar_file() -> Path:
    """Return the path of cel-python's grammar; the package is not imported."""
    package = importlib.util.find_spec("celpy")
    return Path((package and package.origin) or "").with_name("cel.lark")


def _bool_or_name(token: lark.Token) -> lark.Token:
    """Tell the literals ``true`` and ``false`` from names, as ``CELParser.ambiguous_literals`` does."""
    return lark.Token("BOOL_LIT", token.value) if token.value in ("true", "false") else token


def _with_integers(value: Any) -> Any:
    """Turn keys that are digits into integers again: JSON has strings only."""
    if isinstance(value, dict):
        return {int(key) if key.isdigit() else key: _with_integers(item) for key, item in value.items()}
    return [_with_integers(item) for item in value] if isinstance(value, list) else value
