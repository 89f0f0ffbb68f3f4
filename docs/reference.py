"""Write the parts of the documentation that are made from code: ``make reference``. Tests compare them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from extproc.commands.pages import page
from extproc.config.shared_store import SharedStore
from extproc.config.token_exchange import TokenExchangeSettings
from extproc.schema.json_schema import schema
from extproc.schema.tables import table

HERE = Path(__file__).parent


def files() -> Mapping[Path, str]:
    """Return the content of each file that is made, wholly or in part."""
    return {
        HERE / "commands.md": page(),
        HERE / "configuration.md": _with_tables("configuration.md"),
        HERE / "shared-store.md": _with_tables("shared-store.md"),
        HERE / "extproc.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }


def _with_tables(name: str) -> str:
    """Return a file with its tables made anew."""
    text = (HERE / name).read_text(encoding="utf-8")
    tables = {
        "settings": table(without=frozenset({"token_exchange", "shared"})),
        "token_exchange": table(TokenExchangeSettings),
        "shared": table(SharedStore),
    }
    for section, made in tables.items():
        begin, end = f"<!-- {section}: made by `make reference` -->\n", f"<!-- end of {section} -->\n"
        text = re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _, m=made, b=begin, e=end: f"{b}{m}\n{e}",
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content, encoding="utf-8")
