"""The pages of docs/idp, written anew: ``python -m support.idp_pages`` (``make idp-docs``)."""

import functools
from pathlib import Path

from extproc.idp.page import index, page
from extproc.idp.recipe import recipes

FOLDER = Path(__file__).parents[2] / "docs/idp"


@functools.cache
def pages():
    """The content of each file in the folder."""
    return {"README.md": index(recipes()), **{f"{name}.md": page(entry) for name, entry in recipes().items()}}


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
