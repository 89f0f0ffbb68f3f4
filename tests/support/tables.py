"""Tables of cases for tests that pytest need not count one by one."""

import functools
import inspect

import pytest

# A test that skips in the middle of its table would hide the cases after it.
FAILURES = (Exception, pytest.fail.Exception, pytest.skip.Exception)


def each_case(names, cases, *, ids=None):
    """Run the test for each case of a table, and report each case that fails, with its values.

    Takes what ``pytest.mark.parametrize`` takes, but makes one item of the table: an item costs milliseconds
    in each worker, a case nothing. The cases share the test's fixtures and event loop, so a test that needs
    its own for each case is parametrized instead.

    Args:
        names: As for ``parametrize``: "a", "a, b" or a tuple of names.
        cases: A value for each case, or a tuple of values if there are several names.
        ids: What to call the cases where their values do not say it: a list, or a function of the values.
    """
    several = not isinstance(names, str) or "," in names
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    table = [dict(zip(names, case if several else (case,), strict=True)) for case in cases]
    if not table:
        raise ValueError("a table without cases tests nothing")
    labels = [ids(*case.values()) for case in table] if callable(ids) else list(ids or map(_spelled, table))
    labelled = list(zip(labels, table, strict=True))

    def decorate(test):
        def run(**fixtures):
            failures = []
            for label, case in labelled:
                try:
                    test(**fixtures, **case)
                except FAILURES as failure:
                    _note(failure, label, failures)
            _report(failures, len(table))

        async def run_async(**fixtures):
            failures = []
            for label, case in labelled:
                try:
                    await test(**fixtures, **case)
                except FAILURES as failure:
                    _note(failure, label, failures)
            _report(failures, len(table))

        every = functools.wraps(test)(run_async if inspect.iscoroutinefunction(test) else run)
        signature = inspect.signature(test)
        every.__signature__ = signature.replace(
            parameters=[value for name, value in signature.parameters.items() if name not in names]
        )
        return every

    return decorate


def _spelled(case):
    return ", ".join(f"{name}={value!r}" for name, value in case.items())


def _note(failure, label, failures):
    if "pytest-timeout" in str(failure):
        raise failure
    failure.add_note(f"in the case: {label}")
    failures.append(failure)


def _report(failures, cases):
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {cases} cases failed", failures)
