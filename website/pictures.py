"""Where the picture of each diagram of the documentation is."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).with_name("diagrams")
DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def sources() -> Iterator[str]:
    """Yield the source of each diagram in the pages."""
    for page in sorted(DOCS.rglob("*.md")):
        yield from BLOCK.findall(page.read_text(encoding="utf-8"))


def picture_of(source: str) -> Path:
    """Return the path of a diagram's picture."""
    return FOLDER / f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.svg"
