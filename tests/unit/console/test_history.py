"""The decisions that the console remembers: found by filters, page by page, bounded."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.console.history import Filter, History
from support.console import EVENT
from support.tables import each_case


def lines(*events):
    return [
        json.dumps({**EVENT, "request_id": f"r-{number}", **event}) for number, event in enumerate(events)
    ]


def subjects(rows):
    return [row["subject"] for row in rows]


def test_the_newest_come_first_and_pages_join():
    history = History()
    history.add(lines(*({"subject": f"u{n}"} for n in range(5))))
    first = history.page(Filter(), size=3)
    assert subjects(first) == ["u4", "u3", "u2"]
    assert subjects(history.page(Filter(), before=first[-1]["seq"], size=3)) == ["u1", "u0"]
    assert subjects(history.after(Filter(), first[0]["seq"], size=9)) == []
    assert history.latest() == 5


def test_an_event_that_comes_twice_is_there_once_and_has_a_lasting_id():
    history, other = History(), History()
    assert history.add(lines({"subject": "a"})) == 1
    assert history.add(lines({"subject": "a"})) == 0
    other.add(lines({"subject": "a"}))
    (row,) = history.page(Filter())
    assert other.page(Filter())[0]["id"] == row["id"]
    assert history.find(row["id"])["subject"] == "a"
    assert history.find("nothing") is None


@each_case(
    ("wanted", "found"),
    [
        (Filter(user="ALI"), ["alice"]),
        (Filter(role="admin"), ["alice"]),
        (Filter(tool="call"), ["bob"]),
        (Filter(outcome="deny"), ["carol", "bob"]),
        (Filter(reason="no_role"), ["bob"]),
        (Filter(mapping="m"), ["alice"]),
        (Filter(target="other"), ["carol"]),
        (Filter(user="%"), []),
        (Filter(user="' OR 1=1 --"), []),
        (Filter(since=1_796_122_800.0), ["carol"]),
        (Filter(until=1_796_122_800.0), ["bob", "alice"]),
    ],
)
def test_decisions_are_found_by_any_condition(wanted, found):
    history = History()
    allowed = {"decision": "allow", "reason": "", "role_arn": "arn:aws:iam::1:role/Admin", "mapping": "m"}
    history.add(
        lines(
            {"subject": "alice", "mcp_tool": None, **allowed},
            {"subject": "bob", "mcp_tool": "aws___call_aws"},
            {
                "subject": "carol",
                "reason": "revoked",
                "mcp_tool": None,
                "target": "other",
                "time": "2026-12-01T11:00:00+00:00",
            },
        )
    )
    assert subjects(history.page(wanted)) == found


def test_refusals_outlive_what_was_allowed():
    history = History(max_allowed=3, max_others=2)
    for number in range(10):
        history.add(lines({"subject": f"a{number}", "decision": "allow", "request_id": f"x{number}"}))
    history.add(lines(*({"subject": f"d{n}"} for n in range(4))))
    assert subjects(history.page(Filter())) == ["d3", "d2", "a9", "a8", "a7"]


def test_reasons_are_counted():
    history = History()
    history.add(lines({"reason": "a"}, {"reason": "b"}, {"reason": "b"}, {"decision": "allow", "reason": ""}))
    assert history.counts("reason", Filter(outcome="deny")) == [("b", 2), ("a", 1)]
    with pytest.raises(ValueError, match="line"):
        history.counts("line", Filter())


@given(
    st.one_of(
        st.text(), st.binary().map(lambda raw: raw.decode("latin-1")), st.just('{"time":"x"}'), st.just("[1]")
    )
)
def test_lines_that_are_no_decisions_are_ignored(line):
    assert History().add([line]) == 0


@given(
    st.dictionaries(
        st.sampled_from(["subject", "reason", "role_arn", "mcp_tool", "target", "issuer", "mapping"]),
        st.one_of(
            st.none(), st.integers(), st.text(st.characters(exclude_categories=())), st.lists(st.text())
        ),
    )
)
def test_whatever_an_event_has_is_kept_and_can_be_shown(fields):
    history = History()
    assert history.add(lines(fields)) == 1
    (row,) = history.page(Filter())
    json.dumps(row, ensure_ascii=False).encode()
