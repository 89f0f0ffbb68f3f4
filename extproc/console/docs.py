"""The documentation in the wheel, as pages: findings link to it, and no network is needed."""

import posixpath
import re
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

_LINK = re.compile(r"([A-Za-z0-9./_-]+)\.md(#[A-Za-z0-9_-]*)?")
_NO_SLUG = re.compile(r"[^a-z0-9 _-]")

PAGES_OF_REASONS = {
    "token": "authentication#how-a-token-is-verified",
    "policy": "policy",
    "sts": "runbook",
    "revoked": "operations#revoking",
    "target": "targets",
}
"""Where a reason's group is explained."""

_GROUPS = (
    ("revoked", "revoked"),
    ("token_revoked", "revoked"),
    ("sts_", "sts"),
    ("target_", "target"),
    ("header_", "target"),
    ("body_", "target"),
    ("no_role", "policy"),
    ("policy_", "policy"),
    ("claims_shape", "policy"),
    ("session_name", "policy"),
    ("token_in_url", "target"),
    ("token_", "token"),
    ("issuer_", "token"),
    ("key", "token"),
    ("algorithm_", "token"),
    ("signature_in", "target"),
    ("signature_", "token"),
    ("audience_", "token"),
    ("claim", "token"),
    ("scope_", "token"),
    ("envoy_", "token"),
    ("exchange_", "token"),
)


FIRST = "index"
"""The page that leads to the others."""


class Docs:
    """The Markdown files of a folder, rendered once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Without HTML: the files are ours, and need none.
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        files = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.md"))
        self.names = sorted(map(str, files), key=_depth)
        self._rendered = cache(self._render)
        self.contents = cache(self._contents)

    def page(self, name: str) -> str | None:
        """Return the HTML of a page; None if there is none."""
        return self._rendered(name) if name in self.names else None

    def _contents(self) -> list[tuple[str, str, list[tuple[str, str]]]]:
        """Return name and title of each folder's first page, and those of its other pages."""
        folders: dict[str, list[str]] = {}
        for name in self.names:
            folders.setdefault(posixpath.dirname(name), []).append(name)
        return [
            (first, self._title(first), [(name, self._title(name)) for name in names if name != first])
            for folder, names in folders.items()
            if (first := posixpath.join(folder, "README" if folder else FIRST))
        ]

    def _title(self, name: str) -> str:
        """Return the first heading of a page; its name if it has none."""
        with (self._folder / f"{name}.md").open(encoding="utf-8") as lines:
            line = next((line for line in lines if line.startswith("# ")), "")
        return line.removeprefix("# ").replace("`", "").strip() or name

    def _render(self, name: str) -> str:
        tokens = self._markdown.parse((self._folder / f"{name}.md").read_text(encoding="utf-8"))
        for position, token in enumerate(tokens):
            if token.type == "heading_open":
                token.attrSet("id", _slug(tokens[position + 1].content))
            elif token.type in ("table_open", "fence", "code_block"):
                token.attrSet("tabindex", "0")  # wide ones scroll, by the keyboard too
            for child in token.children or ():
                if child.type == "link_open":
                    self._relink(child, name)
                elif child.type == "image":
                    child.type, child.content = "text", str(child.content)
        return str(self._markdown.renderer.render(tokens, self._markdown.options, {}))

    def _relink(self, token: Token, name: str) -> None:
        """Make a link to another document one to its page; what is not a document has no page."""
        href = str(token.attrGet("href") or "")
        if match := _LINK.fullmatch(href):
            other = posixpath.normpath(posixpath.join(posixpath.dirname(name), match[1]))
            token.attrSet("href", f"/docs/{other}{match[2] or ''}" if other in self.names else "#")
        elif href.startswith(("http://", "https://")):
            token.attrSet("rel", "noopener noreferrer")
        elif not href.startswith("#"):
            token.attrSet("href", "#")


def docs_folder() -> Path:
    """Return where the documentation is: in the wheel, or in a checkout."""
    packaged = Path(__file__).with_name("docs")
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "docs"


def of_reason(reason: str) -> str:
    """Return the page, and the section, that explains a reason of denial."""
    for beginning, group in _GROUPS:
        if reason.startswith(beginning):
            return PAGES_OF_REASONS[group]
    return "denials"


def _depth(name: str) -> tuple[int, str]:
    return name.count("/"), name


def _slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return _NO_SLUG.sub("", heading.lower().replace("`", "")).replace(" ", "-")
