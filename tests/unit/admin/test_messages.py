"""The admin API's messages: conversion loses nothing, and refuses what it cannot convert."""

import json
import math

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from extproc.admin import messages
from extproc.admin.errors import RefusedError
from extproc.admin.v1 import admin_pb2
from extproc.sessions.revocation import Selector
from support.tables import each_case

INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
FRACTIONS = st.floats(allow_nan=False, allow_infinity=False, max_value=2.0**52, min_value=-(2.0**52)).filter(
    lambda number: not number.is_integer()
)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | FRACTIONS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def session_ids(numbers):
    return [f"{number:016x}" for number in numbers]


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_an_object_survives_a_struct(document):
    struct = Struct()
    struct.update(document)
    converted = json.loads(messages.json_of(struct, "claims"))
    # Compared as JSON: in Python 1, 1.0 and True are equal.
    assert json.dumps(converted, sort_keys=True) == json.dumps(document, sort_keys=True)


@each_case("number", [2.0**53, -(2.0**53), 1e300, math.inf, math.nan])
def test_a_number_that_is_not_exact_as_a_double_is_refused(number):
    struct = Struct()
    struct.update({"a": [{"b": number}]})
    with pytest.raises(RefusedError, match="claims: a number is too large"):
        messages.json_of(struct, "claims")


@given(
    numbers=st.sets(st.integers(0, 2**64 - 1), max_size=12),
    size=st.integers(1, 5),
    come_and_go=st.sets(st.integers(0, 2**64 - 1), max_size=3),
)
def test_pages_have_every_session_once_even_if_others_begin_and_end(numbers, size, come_and_go):
    seen, token = [], ""
    for turn in range(len(numbers) + len(come_and_go) + 1):
        others = come_and_go - numbers if turn % 2 else set()
        request = admin_pb2.ListSessionsRequest(page_size=size, page_token=token)
        page, token = messages.page(request, session_ids(numbers | others))
        assert len(page) <= size
        seen += page
        if not token:
            break
    assert not token
    assert len(seen) == len(set(seen))
    assert set(session_ids(numbers)) <= set(seen)


def test_a_page_has_100_sessions_unless_asked_otherwise_and_never_more_than_1000():
    for asked, got in ((0, 100), (1, 1), (1000, 1000), (1001, 1000)):
        request = admin_pb2.ListSessionsRequest(page_size=asked)
        page, token = messages.page(request, session_ids(range(1500)))
        assert (len(page), token) == (got, page[-1])


@pytest.mark.parametrize("wrong", [{"page_size": -1}, {"page_token": "x"}, {"page_token": "0" * 15}])
def test_an_invalid_page_is_refused(wrong):
    with pytest.raises(RefusedError, match=next(iter(wrong))):
        messages.page(admin_pb2.ListSessionsRequest(**wrong), [])


@each_case("condition", ["issuer", "subject", "jti", "role_arn"])
def test_an_empty_condition_is_refused_and_not_ignored(condition):
    request = admin_pb2.RevokeRequest(**{"subject": "alice", condition: ""})
    with pytest.raises(RefusedError, match=f"{condition}: must not be empty"):
        messages.selector(request)


def test_the_given_conditions_must_hold():
    assert messages.selector(admin_pb2.RevokeRequest()) == Selector()
    request = admin_pb2.ListSessionsRequest(issuer="i", subject="s", jti="j", role_arn="r", page_size=3)
    assert messages.selector(request) == Selector(issuer="i", subject="s", token_id="j", role_arn="r")


@each_case(
    ("fields", "seconds"),
    [
        ({"subject": "a"}, 86_400.0),
        ({"subject": "a", "duration": Duration()}, 0.0),
        ({"subject": "a", "duration": Duration(seconds=5, nanos=500_000_000)}, 5.5),
        ({"role_arn": "r"}, 0.0),
        ({"role_arn": "r", "duration": Duration(seconds=5)}, 5.0),
    ],
)
def test_a_revocation_refuses_for_a_day_unless_it_has_a_duration_or_a_role(fields, seconds):
    assert messages.refuse_for(admin_pb2.RevokeRequest(**fields)) == seconds


def test_a_negative_duration_is_refused():
    with pytest.raises(RefusedError, match="duration"):
        messages.refuse_for(admin_pb2.RevokeRequest(subject="a", duration=Duration(nanos=-1)))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_time_is_a_valid_timestamp(seconds):
    converted = messages.timestamp(seconds)
    converted.ToJsonString()  # raises for a time outside RFC 3339
    if 0 < seconds < 253_402_300_798:
        assert abs(converted.ToMilliseconds() / 1000 - seconds) <= 0.001
