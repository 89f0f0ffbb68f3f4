"""Hints at misspelt names, and numbers with their nouns."""

from extproc.spelling import counted, did_you_mean
from support.tables import each_case

KNOWN = ["certificate", "private_key", "client_ca"]


@each_case(
    ("name", "hint"),
    [
        ("certficate", "; did you mean 'certificate'?"),
        ("cert", "; did you mean 'certificate'?"),
        ("key", "; did you mean 'private_key'?"),
        ("ca", ""),
        ("unlike", ""),
    ],
)
def test_the_known_name_that_was_probably_meant_is_named(name, hint):
    assert did_you_mean(name, KNOWN) == hint


def test_a_number_is_in_grammar_with_its_noun():
    assert [counted(n, "session") for n in (0, 1, 2)] == ["0 sessions", "1 session", "2 sessions"]
