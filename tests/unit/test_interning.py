"""Strings share memory with equal ones, and Python frees them again."""

import sys

from extproc import interning


def made(number):
    return "".join(("a header's name ", str(number)))


def test_no_string_is_kept_for_good_in_this_python():
    assert all(sys.getrefcount(interning.intern(made(number))) < 100 for number in range(100))


def test_equal_strings_share_memory_where_python_frees_them_and_are_left_alone_where_it_does_not():
    sharing, not_sharing = interning.chosen(lambda _: 4), interning.chosen(lambda _: 0xFFFFFFFF)
    one, other = made(1), made(1)
    assert not_sharing(one) is one
    assert not_sharing(other) is other
    assert sharing(one) is sharing(other)
