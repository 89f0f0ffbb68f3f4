"""The example of docs/own-envoy.md."""

import difflib
from pathlib import Path

from click.testing import CliRunner

from extproc.cli import main

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "own-envoy"
SETTINGS = ["--config", str(ROOT / "envoy" / "aws-mcp" / "extproc.yaml")]


def check(source, *options):
    return CliRunner().invoke(main, ["envoy", "--check", str(source), *options])


def test_the_page_shows_the_difference_between_its_two_files():
    before, after = ((DOCS / name).read_text().splitlines() for name in ("before.yaml", "after.yaml"))
    shown = (DOCS.with_suffix(".md")).read_text().split("```diff\n")[1].split("\n```")[0]
    assert shown.splitlines() == list(
        difflib.unified_diff(before, after, "before.yaml", "after.yaml", lineterm="")
    )


def test_the_check_is_content_with_the_example_and_not_without_its_additions():
    assert check(DOCS / "after.yaml", *SETTINGS).exit_code == 0
    assert check(DOCS / "before.yaml", *SETTINGS).exit_code == 1
