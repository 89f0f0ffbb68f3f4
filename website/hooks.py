"""What MkDocs does besides: pages show pictures of their diagrams, and reach files outside ``docs``.

Files of the repository that a page links to are part of the site, under ``repository/``; links to folders
are text.
"""

import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from pictures import BLOCK, picture_of

ROOT = Path(__file__).parents[1]
OUTSIDE = "repository"
_LINK = re.compile(r"(!?\[[^\[\]]*\])\((?!\w+:|#|/)([^()\s#]+)(#[^()\s]*)?\)")
_NO_SLUG = re.compile(r"[^\w -]")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name anchors as GitHub does, so that one link is right in both places."""
    config.mdx_configs["toc"]["slugify"] = slug
    return config


def slug(heading: str, separator: str) -> str:
    """Return the anchor of a heading."""
    return _NO_SLUG.sub("", heading.lower()).replace(" ", separator)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside ``docs`` that pages link to, and those that these link to."""
    waiting = [file.src_uri for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for target in _outside(page):
            uri = f"{OUTSIDE}/{target}"
            if files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
                if uri.endswith(".md"):
                    waiting.append(uri)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put in pictures of diagrams, and links to where files are in the site."""
    del config, files
    uri = page.file.src_uri
    markdown = BLOCK.sub(lambda match: _picture(match[1]), markdown)
    return _LINK.sub(lambda match: _link(match, uri), markdown)


def _outside(page: str) -> Iterator[str]:
    """Yield the paths in the repository, outside ``docs``, to which a page links."""
    for match in _LINK.finditer((ROOT / _in_repository(page)).read_text(encoding="utf-8")):
        target = _target(page, match[2])
        if not target.startswith("docs/") and (ROOT / target).is_file():
            yield target


def _link(match: re.Match[str], page: str) -> str:
    """Return a link of a page as the site has it."""
    target = _target(page, match[2])
    if (ROOT / target).is_dir():
        return match[1].strip("[]")
    uri = target.removeprefix("docs/") if target.startswith("docs/") else f"{OUTSIDE}/{target}"
    return f"{match[1]}({posixpath.relpath(uri, posixpath.dirname(page) or '.')}{match[3] or ''})"


def _target(page: str, link: str) -> str:
    """Return the path in the repository to which a link of a page leads."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(_in_repository(page)), link))


def _in_repository(page: str) -> str:
    return page.removeprefix(f"{OUTSIDE}/") if page.startswith(f"{OUTSIDE}/") else f"docs/{page}"


def _picture(source: str) -> str:
    """Return a diagram's picture, in the page: it may be wider than a narrow screen, and scroll."""
    drawn = picture_of(source).read_text(encoding="utf-8").replace("\n", " ")
    return f'<div class="diagram">{drawn}</div>\n'
