"""JSON with one reading: what another parser could read otherwise is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc import strictjson
from extproc.strictjson import AmbiguousJSONError
from support.tables import each_case

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]))
)
_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=10)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


@each_case(
    ("document", "value"),
    [
        (b"{}", {}),
        (b" [1, 2.5, -3e2, true, false, null] ", [1, 2.5, -300.0, True, False, None]),
        (b'{"a": {"a": 1}, "b": [{"a": 2}]}', {"a": {"a": 1}, "b": [{"a": 2}]}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        ('"é"'.encode(), "é"),
        (b'{"a": 1, "A": 2}', {"a": 1, "A": 2}),
        (b"1e308", 1e308),
        (b"1e-999", 0.0),
    ],
)
def test_unambiguous_json_is_read(document, value):
    assert strictjson.loads(document) == value


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut short"),
        pytest.param(b"{} {}", id="two documents"),
        pytest.param(b"{}\x00", id="NUL after the document"),
        pytest.param(b"{'a': 1}", id="single quotes"),
        pytest.param(b'{"a": 1,}', id="trailing comma"),
        pytest.param(b"[01]", id="leading zero"),
        pytest.param(b"[1.]", id="no digits after the point"),
        pytest.param(b'"a\nb"', id="raw control character"),
        pytest.param(b"/**/ {}", id="comment"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param('{"a": 1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'"\xff"', id="not UTF-8"),
        pytest.param(b'"\xc0\xaf"', id="overlong UTF-8"),
        pytest.param(b'"\xed\xa0\x80"', id="raw surrogate"),
        pytest.param(b'"\\ud800"', id="lone high surrogate"),
        pytest.param(b'{"\\udc00": 1}', id="lone low surrogate in a name"),
        pytest.param(b'"\\ude00\\ud83d"', id="surrogates in the wrong order"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"[Infinity]", id="Infinity"),
        pytest.param(b'{"a": -Infinity}', id="minus Infinity"),
        pytest.param(b"1e999", id="number that overflows"),
        pytest.param(b"[-1.5e999]", id="negative number that overflows"),
        pytest.param(b"9" * 5000, id="integer of 5,000 digits"),
        pytest.param(b'{"a": 1, "a": 1}', id="duplicate"),
        pytest.param(b'{"a": 1, "\\u0061": 2}', id="duplicate by escape"),
        pytest.param(b'{"": 1, "": 2}', id="duplicate empty name"),
        pytest.param(b'[{"b": {"a": 1, "a": 2}}]', id="duplicate below"),
        pytest.param(b"[" * 50_000 + b"]" * 50_000, id="50,000 levels"),
        pytest.param(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, id="50,000 objects"),
        pytest.param(b"[" * 1_000_000, id="a million open brackets"),
    ],
)
def test_ambiguous_json_is_refused(document):
    with pytest.raises(AmbiguousJSONError):
        strictjson.loads(document)


@pytest.mark.parametrize("leaf", [b"", b"1", b'"text"'])
def test_nesting_is_refused_beyond_the_limit_only(leaf):
    at_limit = b"[" * strictjson.MAX_DEPTH + leaf + b"]" * strictjson.MAX_DEPTH
    strictjson.loads(at_limit)
    with pytest.raises(AmbiguousJSONError, match="deeply"):
        strictjson.loads(b'{"a":' + at_limit + b"}")


@pytest.mark.parametrize(("limit", "fits", "too_deep"), [(0, b"1", b"[]"), (1, b"[]", b"[{}]")])
def test_the_nesting_limit_can_be_given(limit, fits, too_deep):
    strictjson.loads(fits, max_depth=limit)
    with pytest.raises(AmbiguousJSONError):
        strictjson.loads(too_deep, max_depth=limit)


@each_case("document", [b"[]", b"1", b'"{}"', b"null"])
def test_an_object_can_be_required(document):
    with pytest.raises(AmbiguousJSONError, match="not a JSON object"):
        strictjson.loads_object(document)


def test_errors_never_quote_the_document():
    for document in (b'{"s3cret": s3cret}', b'{"s3cret": 1, "s3cret": 2}', b'"\\ud800 s3cret"'):
        with pytest.raises(AmbiguousJSONError) as caught:
            strictjson.loads(document)
        assert "s3cret" not in str(caught.value)


@given(_JSON, st.booleans())
def test_what_a_serialiser_writes_is_read_the_same(value, ascii_only):
    document = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert strictjson.loads(document) == json.loads(document) == value


@given(_TEXT, _JSON, _JSON, st.lists(st.sampled_from(["list", "object"]), max_size=6))
def test_duplicate_names_are_refused_at_any_depth(name, first, second, wrappers):
    quoted = json.dumps(name)
    document = f"{{{quoted}: {json.dumps(first)}, {quoted}: {json.dumps(second)}}}"
    for wrapper in wrappers:
        document = f"[0, {document}]" if wrapper == "list" else f'{{"outer": {document}, "other": 1}}'
    with pytest.raises(AmbiguousJSONError, match="duplicate"):
        strictjson.loads(document.encode())


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_read_or_refused_but_never_crash(document):
    try:
        value = strictjson.loads(document)
    except AmbiguousJSONError:
        return
    assert value == json.loads(document)
