"""docs/idp is what the recipes say."""

from support.idp_pages import FOLDER, pages
from support.tables import each_case


@each_case("name", pages())
def test_a_page_is_that_of_its_recipe(name):
    assert (FOLDER / name).read_text(encoding="utf-8") == pages()[name], "run `make idp-docs`"


def test_there_are_no_other_pages():
    assert {path.name for path in FOLDER.iterdir()} == set(pages())
