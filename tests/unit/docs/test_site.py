"""The documentation hangs together: links, anchors, pictures, the site's navigation, what pages promise to list."""

import importlib.util
import re
from functools import cache
from pathlib import Path

from extproc.errors import Reason
from support.tables import each_case

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
FENCE = re.compile(r"^( *)(```+).*?^\1\2 *$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^()\s>]*)>?\s*\)")


def _name(path):
    return str(path.relative_to(ROOT))


@cache
def anchors(page):
    """The anchors of a page's headings, as GitHub and the site make them."""
    found = {}
    for heading in re.findall(r"^#+ +(.*?)\s*$", FENCE.sub("", page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {slug if not n else f"{slug}-{n}" for slug, count in found.items() for n in range(count + 1)}


def links(page):
    text = CODE.sub("", FENCE.sub("", page.read_text()))
    return [link for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]


@each_case("page", PAGES, ids=_name)
def test_links_lead_to_files_and_headings_that_exist(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def test_a_link_to_nothing_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A b\n[x](#a-b) [y](gone.md) `[z](code.md)`\n```\n[w](fence.md)\n```\n")
    assert links(page) == ["#a-b", "gone.md"]
    assert anchors(page) == {"a-b"}


def test_every_page_is_in_the_navigation_once():
    # Not parsed: it has tags of MkDocs.
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = re.findall(r"^ *- (?:[^:\n]+: )?(\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(
        [*(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")), "repository/README.md"]
    )


def test_every_diagram_has_its_picture_and_no_picture_is_left_over():
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "website" / "pictures.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    assert {pictures.picture_of(source) for source in pictures.sources()} == set(
        pictures.FOLDER.glob("*.svg")
    ), "run `make diagrams`"


def test_what_the_site_is_made_with_comes_from_this_repository():
    for path in [*(ROOT / "website" / "theme").rglob("*"), ROOT / "mkdocs.yml"]:
        if path.is_file():
            assert not re.search(r"https?://", path.read_text()), path


def test_troubleshooting_has_every_reason_of_denial():
    table = (DOCS / "troubleshooting.md").read_text().partition("\n## Refused requests\n")[2]
    first_cells = "\n".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))
    assert set(re.findall(r"`([a-z_]+)`", first_cells)) == {str(reason) for reason in Reason}


def test_the_security_model_names_tests_that_exist():
    named = re.findall(r"`(tests/[\w/.]+)`", (DOCS / "security.md").read_text())
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []
