"""Validation of STS's answers before they become credentials."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.sts.answer import LEEWAY, UnusableAnswerError, check_document, credentials
from extproc.sts.errors import denied
from support.tables import each_case

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def answer(*, arn="arn:aws:sts::123456789012:assumed-role/path/Reader/alice", ends_in=900.0, **parts):
    given_ = {
        "AccessKeyId": "ASIAEXAMPLE234567890",
        "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "SessionToken": "IQoJb3JpZ2luX2VjEL//////////wEaCXVzLWVhc3QtMSJ=",
        "Expiration": (NOW + dt.timedelta(seconds=ends_in)).isoformat(),
        **parts,
    }
    return {"Credentials": given_, "AssumedRoleUser": {"Arn": arn, "AssumedRoleId": "AROA:alice"}}


def read(document, *, session_name="alice", asked=900):
    return credentials(document, session_name=session_name, duration=asked, now=NOW.timestamp())


def test_a_usable_answer_becomes_credentials():
    made = read(answer())
    assert made.access_key_id == "ASIAEXAMPLE234567890"
    assert made.expires_at == NOW.timestamp() + 900


@pytest.mark.parametrize(
    "parts",
    [
        # A JWT as session token (MinIO), a key of 20 letters and digits.
        {"AccessKeyId": "3ZKF0CWV5M1QZ8Y0WQ2E", "SessionToken": "eyJhbGciOiJIUzUxMiJ9.eyJhIjoxfQ.c-_x"},
        {"SessionToken": "t" * 16384},
    ],
)
def test_what_other_services_give_is_taken(parts):
    read(answer(**parts))
    read(answer(arn="", **parts))
    read({"Credentials": answer(**parts)["Credentials"]})


@each_case("name", ["AccessKeyId", "SecretAccessKey", "SessionToken"])
@each_case(
    "value",
    [
        "", " ", "a b", "a\n", "\na", "a\r\nx-evil: 1", "a\0", "a, Signature=1", "a,b", "ä", "\uff41", "\x7f", "\x80",
        "a" * 20_000, None, 5, b"bytes", ["list"],
    ],
)  # fmt: skip
def test_a_part_that_is_not_what_it_should_be_is_refused(name, value):
    with pytest.raises((UnusableAnswerError, TypeError)):
        read(answer(**{name: value}))


@each_case("value", ["AKIA/20150830", "AKIA-1", "AKIA=1", "A" * 129])
def test_an_access_key_id_has_letters_and_digits_only(value):
    with pytest.raises(UnusableAnswerError):
        read(answer(AccessKeyId=value))


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_what_is_taken_can_be_put_into_a_header_whatever_comes(key, secret, token):
    try:
        made = read(answer(AccessKeyId=key, SecretAccessKey=secret, SessionToken=token))
    except UnusableAnswerError:
        return
    for part in (made.access_key_id, made.secret_access_key, made.session_token):
        assert part
        assert part.isascii()
        assert part.isprintable()
        assert not {" ", ","} & set(part)


@each_case("ends_in", [-(10**9), -1, 0, 900 + LEEWAY + 1, 43_200, 10**9])
def test_an_end_that_is_past_or_later_than_was_asked_for_is_refused(ends_in):
    with pytest.raises(UnusableAnswerError):
        read(answer(ends_in=ends_in))


@each_case("ends_in", [1, 60, 900, 900 + LEEWAY])
def test_an_end_within_what_was_asked_for_is_taken(ends_in):
    assert read(answer(ends_in=ends_in)).expires_at == NOW.timestamp() + ends_in


@pytest.mark.parametrize(
    "text", ["2026-01-02T03:19:05Z", "2026-01-02T03:19:05.000Z", "2026-01-02T04:19:05.000000000+01:00"]
)
def test_the_end_is_a_time_in_iso_8601(text):
    assert read(answer(Expiration=text)).expires_at == NOW.timestamp() + 900


@pytest.mark.parametrize("text", ["", "soon", "2026-01-02", "2026-01-02T03:19:05", "1767323945"])
def test_an_end_that_is_no_time_or_of_no_time_zone_is_refused(text):
    with pytest.raises(UnusableAnswerError, match="Expiration"):
        read(answer(Expiration=text))


@each_case(
    "arn",
    [
        "arn:aws:sts::123456789012:assumed-role/Reader/bob",
        "arn:aws:sts::123456789012:assumed-role/alice/bob",
        "arn:aws:sts::123456789012:assumed-role/Reader/xalice",
        "arn:aws:sts::123456789012:assumed-role/Reader/alice/",
        "alice2",
    ],
)
def test_an_answer_for_another_role_session_is_refused(arn):
    with pytest.raises(UnusableAnswerError, match="another role session"):
        read(answer(arn=arn))


@each_case(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>',
        b"<?xml version='1.0'?><!DOCTYPE a><a/>",
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
        '<?xml version="1.0" encoding="utf-16be"?><!DOCTYPE a><a/>'.encode("utf-16-be"),
        "<!DOCTYPE a><a/>".encode("utf-32"),
    ],
)
def test_a_document_type_never_reaches_the_parser(body):
    with pytest.raises(UnusableAnswerError):
        check_document(body)


def test_plain_documents_do():
    for body in (b"", b"<a/>", "<a>ä</a>".encode(), b"<html>DOCTYPE</html>"):
        check_document(body)


@given(st.text(max_size=300))
def test_of_an_error_code_only_so_much_is_told_as_cannot_harm_a_log(code):
    made = denied(400, code, "")
    assert len(made.detail) < 200
    assert made.detail.isascii()
    assert made.detail.isprintable()
