"""The newest events of the audit log, page by page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.telemetry.recent import RecentEvents
from support.tables import each_case


def batch(*names):
    return "".join(f'{{"n":"{name}"}}\n' for name in names).encode(), len(names)


def names(page):
    return [line[6:-2] for line in page.lines]


def test_a_reader_gets_each_event_once_and_in_order():
    recent = RecentEvents()
    recent.append(*batch("a", "b", "c"))
    recent.append(*batch("d"))
    first = recent.page("", 2)
    assert (names(first), first.more, first.missed) == (["a", "b"], True, False)
    second = recent.page(first.next_cursor, 10)
    assert (names(second), second.more) == (["c", "d"], False)
    assert names(recent.page(second.next_cursor, 10)) == []
    recent.append(*batch("e"))
    assert names(recent.page(second.next_cursor, 10)) == ["e"]


def test_the_oldest_events_are_forgotten_and_a_reader_that_was_too_slow_learns_it():
    recent = RecentEvents(max_bytes=40)
    recent.append(*batch("a", "b"))
    cursor = recent.page("", 1).next_cursor
    recent.append(*batch("c", "d"))
    recent.append(*batch("e"))
    page = recent.page(cursor, 10)
    assert (names(page), page.missed) == (["c", "d", "e"], True)


def test_the_cursor_of_another_process_begins_with_the_oldest_event():
    other = RecentEvents()
    other.append(*batch("x", "y"))
    recent = RecentEvents()
    recent.append(*batch("a", "b", "c"))
    page = recent.page(other.page("", 10).next_cursor, 10)
    assert (names(page), page.missed) == (["a", "b", "c"], True)


@each_case("cursor", ["x", "-", "-1", "abc-", "abc-x", "abc--1"])
def test_what_is_no_cursor_is_refused(cursor):
    with pytest.raises(ValueError, match="cursor"):
        RecentEvents().page(cursor, 1)


def test_an_answer_is_bounded_in_bytes():
    recent = RecentEvents()
    recent.append(b'{"n":"' + b"x" * 900_000 + b'"}\n', 1)
    recent.append(b'{"n":"' + b"y" * 900_000 + b'"}\n', 1)
    page = recent.page("", 100)
    assert (len(page.lines), page.more) == (1, True)


@given(st.lists(st.integers(1, 5), max_size=20), st.integers(1, 7))
def test_pages_of_any_size_join_to_all_events(sizes, limit):
    recent = RecentEvents()
    written = []
    for number, size in enumerate(sizes):
        events = [f"{number}.{each}" for each in range(size)]
        recent.append(*batch(*events))
        written += events
    read, cursor, more = [], "", True
    while more:
        page = recent.page(cursor, limit)
        read += names(page)
        cursor, more = page.next_cursor, page.more
    assert read == written
