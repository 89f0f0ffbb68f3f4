"""Each recipe of the cookbook gives what its cases say."""

from pathlib import Path

from extproc import config
from extproc.cases import document
from extproc.cases.run import run
from extproc.clock import system_clock
from extproc.explain.run import environment_of
from support.tables import each_case

FOLDER = Path(__file__).parents[3] / "docs/cookbook"
RECIPES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.endswith(".test.yaml"))


@each_case("recipe", RECIPES, ids=lambda path: path.stem)
async def test_a_recipe_gives_what_its_cases_say(recipe):
    environment = environment_of(config.load(recipe), system_clock)
    cases = document.load(recipe.with_suffix(".test.yaml"))
    results = await run(environment, cases)
    assert {result.name: result.differences for result in results if not result.passed} == {}
    assert len(results) > 1


def test_the_page_has_each_recipe():
    page = (FOLDER / "README.md").read_text()
    assert len(RECIPES) == 20
    assert all(f"({path.name})" in page for path in RECIPES)
    assert all(f"({path.with_suffix('.test.yaml').name})" in page for path in RECIPES)
