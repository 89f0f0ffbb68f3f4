"""A string of a token that other programs would end early is refused before any rule sees it."""

import pytest

from extproc.authn.claims import check_strings
from extproc.errors import Denied, Reason
from support.tables import each_case


@each_case(
    "claims",
    [
        {"sub": "admin\0"},
        {"sub\0": "admin"},
        {"groups": ["a", "\0"]},
        {"act": {"sub": {"x": [[{"a": "b\0c"}]]}}},
        {"act": {"s\0": 1}},
    ],
)
def test_u_0000_in_any_string_or_name_is_refused(claims):
    with pytest.raises(Denied) as denied:
        check_strings(claims)
    assert denied.value.reason is Reason.CLAIMS_INVALID


def test_everything_else_is_accepted():
    check_strings({"sub": "\\u0000", "n": [0, None, True, 1.5, {"a": ["é\x01"]}]})
