"""Which scopes are enough for which, and what a client is told to ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.scopes import NO_SCOPES, ScopeHierarchy, ScopeHierarchyError
from support.tables import each_case

AWS = ScopeHierarchy({"aws:*": ["aws:call", "aws:read"], "root": ["aws:*", "billing"]}, ["mcp", "aws:call"])


@each_case(
    ("granted", "missing"),
    [
        ({"aws:call", "aws:read"}, ()),
        ({"aws:*"}, ()),
        ({"root"}, ()),
        ({"aws:call", "root"}, ()),
        ({"aws:call"}, ("aws:read",)),
        ({"billing"}, ("aws:call", "aws:read")),
        (set(), ("aws:call", "aws:read")),
        ({"aws"}, ("aws:call", "aws:read")),
        ({"aws:**", "aws:?", "AWS:*", "*", "", "aws:* "}, ("aws:call", "aws:read")),
    ],
)
def test_a_broader_scope_is_enough_by_however_many_steps_and_by_no_pattern(granted, missing):
    assert AWS.require(["aws:call", "aws:read"]).missing(granted) == missing


def test_a_narrow_scope_is_never_enough_for_the_broad_one():
    assert AWS.require(["aws:*"]).missing({"aws:call", "aws:read", "billing"}) == ("aws:*",)
    assert AWS.require(["root"]).missing({"aws:*", "billing"}) == ("root",)
    assert AWS.require(["aws:*"]).missing({"root"}) == ()


def test_a_scope_that_no_hierarchy_names_is_itself():
    assert ScopeHierarchy().require(["x"]).missing({"x"}) == ()
    assert ScopeHierarchy().require(["x"]).missing({"y"}) == ("x",)
    assert not NO_SCOPES
    assert NO_SCOPES.missing(set()) == ()


@pytest.mark.parametrize(
    ("includes", "path"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["a"]}, ("a", "b", "a")),
        ({"a": ["x", "b"], "b": ["y", "c"], "c": ["z", "a"]}, ("a", "b", "c", "a")),
    ],
)
def test_a_scope_that_includes_itself_is_an_error_with_the_path(includes, path):
    with pytest.raises(ScopeHierarchyError) as caught:
        ScopeHierarchy(includes)
    assert caught.value.path == path


def test_a_cycle_is_found_wherever_it_is():
    with pytest.raises(ScopeHierarchyError):
        ScopeHierarchy({"top": ["a"], "a": ["b"], "b": ["c"], "c": ["b"]})


def test_two_paths_to_the_same_scope_are_no_cycle():
    diamond = ScopeHierarchy({"top": ["a", "b"], "a": ["c"], "b": ["c"]})
    assert diamond.sufficient("c") == {"c", "a", "b", "top"}


def test_a_long_chain_is_followed_to_its_end():
    chain = ScopeHierarchy({str(n): [str(n + 1)] for n in range(1100)})  # deeper than Python would recurse
    assert chain.require(["1100"]).missing({"0"}) == ()


def test_the_requested_scopes_are_the_tokens_and_the_missing_ones():
    required = AWS.require(["aws:read", "billing"])
    granted = {"mcp", "aws:call", "openid", 'quo"te', "aws:read"}
    assert required.to_ask_for(granted, required.missing(granted)) == (
        "mcp",
        "aws:call",
        "aws:read",
        "billing",
    )


_names = st.sampled_from("abcdefgh")
_hierarchies = st.dictionaries(_names, st.lists(_names, min_size=1, max_size=3), max_size=8)


@given(_hierarchies, st.lists(_names, max_size=4), st.sets(_names | st.text(max_size=3), max_size=5))
def test_the_requested_scopes_suffice_and_are_all_in_the_configuration(includes, required, granted):
    try:
        hierarchy = ScopeHierarchy(includes)
    except ScopeHierarchyError:
        return
    requirement = hierarchy.require(required)
    missing = requirement.missing(granted)
    asked = requirement.to_ask_for(granted, missing)
    assert requirement.missing(set(asked)) == ()
    assert set(asked) <= {*required, *includes} & ({*granted} | {*missing})
    assert len(asked) == len(set(asked))
    # By a reference that follows the hierarchy afresh.
    reached = set(granted)
    while more := {narrow for broad in reached for narrow in includes.get(broad, ())} - reached:
        reached |= more
    assert set(missing) == set(required) - reached
