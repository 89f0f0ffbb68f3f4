"""Literals: the same as in cel-go, or refused. Expectations are from cel-go 0.33."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.policy import cel
from extproc.policy.cel.literals import literal
from support.tables import each_case

INT, UINT = 2**63, 2**64


def value(source):
    return cel.compile_any(source, variables=frozenset()).value({})


@each_case(
    ("source", "expected"),
    [
        ('""', ""),
        ("''", ""),
        ('""""""', ""),
        (r'"\a\b\f\n\r\t\v\\\?\"\'\`"', "\a\b\f\n\r\t\v\\?\"'`"),
        (r'"\x41\X4a\xff\101\377\u00e9\U0001F600"', "AJ\xffA\xffé\U0001f600"),
        (r"r'a\d\x'", r"a\d\x"),
        (r'R"""\q"""', r"\q"),
        ('"""a"b""c"""', 'a"b""c'),
        ("'''a\r\nb\rc\nd'''", "a\nb\nc\nd"),
        ("r'''a\r\nb'''", "a\nb"),
        (r'"""a\""""', 'a"'),
        ("'//'", "//"),
        (r"b'\xff\377\101é'", b"\xff\xffA\xc3\xa9"),
        (r"b'a\n'", b"a\n"),
        (r"br'\xff'", rb"\xff"),
        ("B'''a\r'''", b"a\n"),
        ("007", 7),
        ("0x1F", 31),
        ("-0x10", -16),
        (f"{INT - 1}", INT - 1),
        (f"-{INT}", -INT),
        (f"- {INT}", -INT),
        ("-0x8000000000000000", -INT),
        ("--1", 1),
        (f"{UINT - 1}u", UINT - 1),
        ("0x1fU", 31),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1.5E-3", -0.0015),
        ("1e-400", 0.0),
    ],
)
def test_a_literal_is_what_it_is_in_cel(source, expected):
    found = value(source)
    assert found == expected
    assert isinstance(found, type(expected))


@each_case(
    "source",
    [
        r'"\q"', r'"\d"', r'"\x4"', r'"\u12"', r'"\400"', r'"\18"', r'"\0"', r'"\uD800"', r'"\UD83DDE03"',
        r'"\U00110000"', r'"\U0000DC00"', r'"\e"', r'"\/"', r'"\N"', r'"\u{41}"',
        r"b'\u0041'", r"b'\U00000041'", r"b'\q'",
        '"\\"', "'\\'", '"a', '"a\nb"', '"a\rb"', "r'a\nb'", 'rb"a"', 'u"a"', 'f"a"',
        'r"\\""', "r'\\''", 'r"""\\""""', "br'''\\''''",
        f"{INT}", f"-{INT + 1}", f"--{INT}", "0x8000000000000000", "-1u", f"{UINT}u", "0X1F", "0x", "1_000", "0b1",
        "1.", "1.e5", "1e", "1e309", "1f", "+1", "1.0u", "True", "NULL",
    ],
)  # fmt: skip
def test_an_invalid_literal_does_not_compile(source):
    with pytest.raises(cel.ExpressionError):
        value(source)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_string_can_be_written_and_is_read_back(text):
    escaped = "".join(
        f"\\U{ord(character):08x}" if character in "\\\"'\n\r" else character for character in text
    )
    assert value(f'"{escaped}"') == text
    assert value(f"'{escaped}'") == text
    assert value(f"b'''{''.join(chr(0x5C) + f'x{octet:02x}' for octet in text.encode())}'''") == text.encode()


@given(st.integers(-INT, INT - 1))
def test_every_int_can_be_written_and_converts_to_a_string_and_back(number):
    assert value(f"{number}") == number
    assert value(f'int("{number}")') == number
    assert value(f"int(string({number}))") == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_converts_to_a_string_and_back(number):
    found = value(f'double(string(double("{number!r}")))')
    assert (found, math.copysign(1, found)) == (number, math.copysign(1, number))


@each_case(
    ("number", "text"),
    [
        ("1.0", "1"), ("0.1", "0.1"), ("-0.0", "-0"), ("123456.0", "123456"), ("1000000.0", "1e+06"),
        ("1234567.0", "1.234567e+06"), ("1e21", "1e+21"), ("0.0001", "0.0001"), ("0.00001", "1e-05"),
        ("1e300", "1e+300"), ("1.0 / 0.0", "+Inf"), ("-1.0 / 0.0", "-Inf"), ("0.0 / 0.0", "NaN"),
    ],
)  # fmt: skip
def test_a_double_is_spelled_as_go_spells_it(number, text):
    assert value(f"string({number})") == text


@pytest.mark.parametrize("macro", ["exists(__result__, __result__)", "map(__result__, 1)"])
def test_cels_own_variable_cannot_be_used_in_a_rule(macro):
    with pytest.raises(cel.ExpressionError, match="__result__"):
        cel.compile_any(f"claims.x.{macro}", variables=frozenset({"claims"}))


@each_case(
    ("kind", "text"), [("INT_LIT", "0X1F"), ("UINT_LIT", "1"), ("FLOAT_LIT", "1."), ("STRING_LIT", "a")]
)
def test_what_the_parser_accepts_as_a_literal_is_validated(kind, text):
    with pytest.raises(cel.ExpressionError, match=r"^not a"):
        literal(kind, text)
