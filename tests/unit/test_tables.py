"""Tests of the tests: a table hides no failing case."""

import asyncio
import inspect

import pytest

from support.tables import each_case

PAIRS = [(1, 1), (2, 3), (4, 5)]


def compare(a, b):
    assert a == b


async def compare_later(a, b):
    await asyncio.sleep(0)
    assert a == b


def shown(error):
    return [failure.__notes__ for failure in error.value.exceptions]


def test_every_failing_case_is_reported_with_its_values():
    with pytest.raises(ExceptionGroup, match="2 of 3 cases failed") as error:
        each_case("a, b", PAIRS)(compare)()
    assert shown(error) == [["in the case: a=2, b=3"], ["in the case: a=4, b=5"]]


async def test_so_it_is_where_tests_are_coroutines():
    with pytest.raises(ExceptionGroup) as error:
        await each_case(("a", "b"), PAIRS, ids=lambda a, _b: f"the {a}")(compare_later)()
    assert shown(error) == [["in the case: the 2"], ["in the case: the 4"]]


def test_one_failure_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError) as error:
        each_case("a", [1, 0], ids=["one", "none"])(lambda a: 1 / a)()
    assert error.value.__notes__ == ["in the case: none"]


def test_what_is_not_raised_and_what_is_skipped_are_failures():
    def test(act):
        with pytest.raises(ValueError):
            act()

    with pytest.raises(BaseExceptionGroup, match="2 of 2"):
        each_case("act", [list, lambda: pytest.skip("no")])(test)()


def test_the_end_of_the_time_ends_the_table():
    seen = []

    def test(case):
        seen.append(case)
        pytest.fail("Timeout (>1.0s) from pytest-timeout.")

    with pytest.raises(pytest.fail.Exception):
        each_case("case", "ab")(test)()
    assert seen == ["a"]


def test_tables_multiply_and_fixtures_remain():
    seen = []

    def test(a, b, fixture):
        seen.append((a, b, fixture))

    both = each_case("a", [1, 2])(each_case("b", "xy")(test))
    assert list(inspect.signature(both).parameters) == ["fixture"]
    both(fixture="f")
    assert seen == [(1, "x", "f"), (1, "y", "f"), (2, "x", "f"), (2, "y", "f")]


def test_a_table_without_cases_or_with_too_few_values_is_a_mistake():
    with pytest.raises(ValueError, match="tests nothing"):
        each_case("a", [])
    with pytest.raises(ValueError):
        each_case("a, b", [(1,)])
