"""Bodies of answers to tools/list, as JSON and as events: only what may stay stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.request.tools_list_body import EVENTS, JSON, MAX_TOOLS, UnreadableError, filtered
from support.tables import each_case


def answer(*names, identifier=1, **more):
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    return {"jsonrpc": "2.0", "id": identifier, "result": {"tools": tools, **more}}


def encoded(message):
    return json.dumps(message).encode()


def keeps(name):
    return name.startswith("a")


def names_of(body):
    return [tool["name"] for tool in json.loads(body)["result"]["tools"]]


def events_of(body):
    """A reader of events of its own: as browsers do."""
    found = []
    for block in body.decode().split("\n\n"):
        data = [line[6:] for line in block.split("\n") if line.startswith("data: ")]
        if data:
            found.append(json.loads("\n".join(data)))
    return found


def test_tools_that_do_not_stay_are_taken_out_and_all_else_is_as_it_was():
    body = encoded(answer("a1", "b", "a2", nextCursor="c", _meta={"x": [1, 1.5, "é", None]}))
    found = json.loads(filtered(body, JSON, 1, keeps))
    assert found == answer("a1", "a2", nextCursor="c", _meta={"x": [1, 1.5, "é", None]})


@pytest.mark.parametrize(
    "message", [answer("a1"), answer(), {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "m"}}]
)
def test_a_body_that_loses_nothing_stays_byte_for_byte(message):
    assert filtered(b" " + encoded(message), JSON, 1, keeps) is None


def without(message, *names):
    return {name: value for name, value in message.items() if name not in names}


@each_case(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf" + encoded(answer("a")),
        encoded([answer("b")]),
        encoded(answer("b", identifier=2)),
        encoded(answer("b", identifier="1")),
        encoded(answer("b", identifier=1.0)),
        encoded(answer("b", identifier=True)),
        encoded(without(answer("b"), "id")),
        encoded(without(answer("b"), "jsonrpc")),
        encoded(without(answer("b"), "result")),
        encoded({**answer("b"), "error": {}}),
        encoded({**answer("b"), "method": "x"}),
        encoded({**answer("a"), "Result": answer("b")["result"]}),
        encoded({**answer("a"), "result": [answer("b")]}),
        encoded({**answer("a"), "result": {}}),
        encoded(answer("a", Tools=answer("b")["result"]["tools"])),
        encoded({**answer(), "result": {"tools": {"b": {}}}}),
        encoded({**answer(), "result": {"tools": ["b"]}}),
        encoded({**answer(), "result": {"tools": [{"name": 1}]}}),
        encoded({**answer(), "result": {"tools": [{"name": "a", "Name": "b"}]}}),
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"b"}],"tools":[]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"x":' + b"[" * 200 + b"]" * 200 + b"}",
        encoded(answer(*["a"] * (MAX_TOOLS + 1))),
    ],
)
def test_what_clients_might_read_in_another_way_is_refused(body):
    with pytest.raises(UnreadableError):
        filtered(body, JSON, 1, keeps)
    if b"\n" not in body:
        with pytest.raises(UnreadableError):
            filtered(
                b"data: " + body.removeprefix(b"\xef\xbb\xbf") + b"\n\n" if body else b"", EVENTS, 9, keeps
            )


def test_an_answer_to_a_notification_is_refused():
    with pytest.raises(UnreadableError):
        filtered(encoded(without(answer("b"), "id")), JSON, None, keeps)


NOTE = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_answer_among_events_is_filtered_and_loses_what_could_bring_it_back(end):
    lines = [
        "\ufeff: comment", "retry: 5", "id: 0", "data:", "", "event: message", "id: 1", f"data: {json.dumps(NOTE)}",
        "", 'data: {"jsonrpc": "2.0",', f"data:{json.dumps(answer('a', 'b'))[1:]}".replace('"jsonrpc": "2.0", ', ""),
        "id", "", "",
    ]  # fmt: skip
    body = filtered(end.join(lines).encode(), EVENTS, 1, keeps)
    assert events_of(body) == [NOTE, answer("a")]
    assert b"\nid" not in body
    assert b"retry" not in body


def test_events_that_lose_nothing_stay_byte_for_byte():
    body = f"id: 1\ndata: {json.dumps(NOTE)}\n\nid: 2\ndata: {json.dumps(answer('a'))}\n\n".encode()
    assert filtered(body, EVENTS, 1, keeps) is None


def test_unfinished_events_and_those_of_other_types_go():
    whole = f"data: {json.dumps(answer('a'))}\n\n"
    hidden = json.dumps(answer("b"))
    for added in (f"data: {hidden}\n", f"data: {hidden}", f"event: other\ndata: {hidden}\n\n"):
        body = filtered((whole + added).encode(), EVENTS, 1, keeps)
        assert events_of(body) == [answer("a")]


@each_case(
    "events",
    [
        [],
        [NOTE],
        [answer("a"), answer("a")],
        [answer("a"), answer("b", identifier=2)],
        [answer("a"), {**NOTE, "result": answer("b")["result"]}],
        [answer("a"), {**NOTE, "Result": answer("b")["result"]}],
        [answer("a"), [answer("b")]],
        [answer("a"), "b"],
    ],
)
def test_events_without_exactly_one_answer_are_refused(events):
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    with pytest.raises(UnreadableError):
        filtered(body, EVENTS, 1, keeps)


def test_events_that_are_not_utf_8_are_refused():
    with pytest.raises(UnreadableError):
        filtered(b"data: \xff\n\n", EVENTS, 1, keeps)


@given(
    st.lists(st.text(max_size=8), max_size=8), st.one_of(st.integers(), st.text(max_size=4)), st.booleans()
)
def test_exactly_the_tools_that_stay_are_left_in_their_order(names, identifier, as_events):
    names = [name for name in names if name.isprintable()]
    message = encoded(answer(*names, identifier=identifier))
    body = b"data: " + message + b"\n\n" if as_events else message
    found = filtered(body, EVENTS if as_events else JSON, identifier, keeps)
    wanted = [name for name in names if keeps(name)]
    if wanted == names:
        assert found is None
    else:
        (left,) = events_of(found) if as_events else (json.loads(found),)
        assert left == answer(*wanted, identifier=identifier)


@given(st.binary(max_size=200), st.sampled_from([JSON, EVENTS]))
def test_any_other_bytes_are_refused(body, content_type):
    with pytest.raises(UnreadableError):
        filtered(body, content_type, 1, keeps)
