"""The name of a user in CloudTrail: STS always accepts it, and two users never share a changed name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.policy.session_name import InvalidNameError, session_name, strict_session_name
from support.tables import each_case

STS_ROLE_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
ISSUER = "https://idp.example.com/"

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


def named(wanted, *, issuer=ISSUER, subject="subject-1"):
    return session_name(wanted, issuer=issuer, subject=subject)


@each_case(
    "wanted",
    ["ab", "alice", "alice@example.com", "A.B+c=d,e-f_g", "n" * 64, "6b1c5a34-7a4e-4e0b-9a5c-0123456789ab"],
)
def test_a_name_that_sts_accepts_is_kept(wanted):
    assert named(wanted) == wanted


@each_case(
    ("wanted", "start"),
    [
        ("a", "a-"),
        ("auth0|123", "auth0-123-"),
        ("alice smith", "alice-smith-"),
        ("élise", "-lise-"),
        ("名前", "---"),
        ("alice\n", "alice--"),
        ("n" * 65, "n" * 53 + "-"),
        ("a/b:c", "a-b-c-"),
        ("١٢", "---"),
    ],
)
def test_any_other_name_is_cleaned_cut_and_marked_with_a_hash(wanted, start):
    name = named(wanted)
    assert re.fullmatch(re.escape(start) + "[0-9a-f]{10}", name)
    assert STS_ROLE_SESSION_NAME.fullmatch(name)


def test_a_changed_name_differs_by_issuer_subject_and_claim():
    names = {
        named("a b"),
        named("a b", subject="subject-2"),
        named("a b", issuer="https://other.example.com/"),
        named("a/b"),
    }
    assert len(names) == 4


def test_moving_characters_between_issuer_and_subject_gives_another_name():
    assert named("a b", issuer="https://x", subject="1y") != named("a b", issuer="https://x1", subject="y")


def test_no_user_can_claim_the_changed_name_of_another():
    victim = named("alice smith", subject="victim")
    impostor = named(victim, subject="impostor")
    assert impostor != victim
    assert STS_ROLE_SESSION_NAME.fullmatch(impostor)


@given(wanted=texts, issuer=texts, subject=texts)
def test_every_claim_gives_a_name_that_sts_accepts(wanted, issuer, subject):
    assert STS_ROLE_SESSION_NAME.fullmatch(session_name(wanted, issuer=issuer, subject=subject))


@given(one=st.tuples(texts, texts, texts), other=st.tuples(texts, texts, texts))
def test_different_users_have_different_names_whenever_one_was_changed(one, other):
    names = [session_name(wanted, issuer=issuer, subject=subject) for wanted, issuer, subject in (one, other)]
    if one != other and any(name != person[0] for name, person in zip(names, (one, other), strict=True)):
        assert names[0] != names[1]


@pytest.mark.parametrize("wanted", ["ab", "alice@example.com", "n" * 64])
def test_strictly_a_name_that_sts_accepts_is_kept(wanted):
    assert strict_session_name(wanted) == wanted


@each_case(
    ("wanted", "wrong"),
    [("a", "is not 2 to 64"), ("n" * 65, "is not 2 to 64"), ("a b", "characters"), ("ab\n", "characters")],
)
def test_strictly_any_other_name_is_refused(wanted, wrong):
    with pytest.raises(InvalidNameError, match=wrong):
        strict_session_name(wanted)
