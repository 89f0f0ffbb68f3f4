"""``extproc sign --json`` against AWS's public signing test suite (header form).

The cases here are written from the suite's published requests and signatures. The whole
suite is run if its folder ``aws-signing-test-suite/v4`` is found: named by
EXTPROC_SIGV4_SUITE, or beside or in this project.
"""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from extproc.cli import main
from support.tables import each_case

ROOT = Path(__file__).parents[3]
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
TOKEN = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"


def sign(request):
    result = CliRunner().invoke(main, ["sign", "--json"], input=json.dumps(request))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def case(target="/", headers=(), *, method="GET", **more):
    return {
        "method": method,
        "url": f"https://example.amazonaws.com{target}",
        "headers": [["Host", "example.amazonaws.com"], *headers, ["X-Amz-Date", "20150830T123600Z"]],
        "region": "us-east-1",
        "service": "service",
        "credentials": KEYS,
        "time": "20150830T123600Z",
        "sign_headers": [name for name, _ in headers],
        **more,
    }


RAW = {"normalize_path": False}
FORM = ["Content-Type", "application/x-www-form-urlencoded; charset=utf-8"]
CASES = {
    "get-header-value-multiline": (
        case(headers=[["My-Header1", "value1\n  value2\n     value3"]]),
        "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd",
    ),
    "get-header-value-trim": (
        case(headers=[["My-Header1", " value1"], ["My-Header2", ' "a   b   c"']]),
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "get-relative-relative-unnormalized": (
        case("/example1/example2/../..", **RAW),
        "dc33e0856fd4baca4d7aa2146c38958283844764f38c74252a333df5e613003b",
    ),
    "get-slashes-unnormalized": (
        case("//example//", **RAW),
        "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5",
    ),
    "get-space-unnormalized": (
        case("/example space/", **RAW),
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
    "get-utf8": (
        case("/\u1234"),
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    "get-vanilla-query-order-encoded": (
        case("/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1"),
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
    "get-vanilla-utf8-query": (
        case("/?\u1234=bar"),
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    "get-vanilla-with-session-token": (
        case(credentials={**KEYS, "session_token": TOKEN}),
        "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
    ),
    "post-sts-header-after": (
        case(method="POST"),
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-x-www-form-urlencoded-parameters": (
        case(
            method="POST",
            headers=[FORM, ["Content-Length", "13"]],
            body="Param1=value1",
            content_sha256_header=True,
        ),
        "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
    ),
}


@each_case("name", CASES)
def test_a_published_request_has_its_published_signature(name):
    request, signature = CASES[name]
    assert sign(request)["signature"] == signature


@each_case(
    ("target", "path"),
    [
        ("/example/..", "/"),
        ("/example1/example2/../..", "/"),
        ("/./", "/"),
        ("/./example", "/example"),
        ("//", "/"),
        ("//example//", "/example/"),
        ("/example space/", "/example%20space/"),
        ("/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    ],
)  # fmt: skip
def test_paths_are_normalised_unless_they_are_not(target, path):
    assert sign(case(target))["canonical_request"].split("\n")[1] == path
    raw = sign(case(target, **RAW))["canonical_request"].split("\n")[1]
    assert raw == target.replace(" ", "%20")


@each_case(
    ("query", "canonical"),
    [
        ("Param1=value1", "Param1=value1"),
        ("Param2=value2&Param1=value1", "Param1=value1&Param2=value2"),
        ("Param1=value2&Param1=Value1", "Param1=Value1&Param1=value2"),
        ("Param1=value2&Param1=value1", "Param1=value1&Param1=value2"),
    ],
)
def test_query_parameters_are_ordered_by_name_and_then_value(query, canonical):
    assert sign(case(f"/?{query}"))["canonical_request"].split("\n")[2] == canonical


def test_duplicate_headers_are_joined_in_their_order():
    headers = [["My-Header1", value] for value in ("value4", "value1", "value3", "value2")]
    assert "my-header1:value4,value1,value3,value2" in sign(case(headers=headers))["canonical_request"].split(
        "\n"
    )


# The whole suite.


def _suite():
    named = os.environ.get("EXTPROC_SIGV4_SUITE")
    places = [Path(named)] if named else [base / inner for base in (ROOT, ROOT.parent) for inner in (
        Path("aws-signing-test-suite/v4"),
        Path("aws-c-auth/tests/aws-signing-test-suite/v4"),
    )]  # fmt: skip
    for place in places:
        found = sorted(path.parent for path in place.glob("**/header-canonical-request.txt"))
        if found:
            return found
    return []


def _text(path):
    return path.read_bytes().decode("utf-8").replace("\r\n", "\n").removesuffix("\n")


def request_of(folder):
    """The suite's raw request and context, as ``extproc sign`` reads them."""
    context = json.loads((folder / "context.json").read_text())
    raw = (folder / "request.txt").read_bytes().decode("utf-8").replace("\r\n", "\n")
    head, _, body = raw.partition("\n\n")
    first, *lines = head.rstrip("\n").split("\n")
    method, _, target = first.rpartition(" ")[0].partition(" ")
    headers = []
    for line in lines:
        if line[:1] in " \t":
            headers[-1][1] += "\n" + line
        else:
            name, _, value = line.partition(":")
            headers.append([name, value])
    expected = _text(folder / "header-canonical-request.txt")
    keys = context["credentials"]
    credentials = {name: keys[name] for name in ("access_key_id", "secret_access_key")}
    if keys.get("token") and "x-amz-security-token:" in expected:
        credentials["session_token"] = keys["token"]
    return {
        "method": method,
        "url": f"https://example.amazonaws.com{target}",
        "headers": headers,
        "body": body,
        "region": context["region"],
        "service": context["service"],
        "credentials": credentials,
        "time": context["timestamp"].replace("-", "").replace(":", ""),
        "sign_headers": [name for name, _ in headers],
        "normalize_path": context["normalize"],
        "content_sha256_header": bool(context.get("sign_body")),
    }


@pytest.mark.skipif(not _suite(), reason="aws-signing-test-suite/v4 is not beside this project")
@pytest.mark.parametrize("folder", _suite(), ids=lambda path: path.name)
def test_every_checkpoint_equals_the_suites(folder):
    signed = sign(request_of(folder))
    assert signed["canonical_request"] == _text(folder / "header-canonical-request.txt")
    assert signed["string_to_sign"] == _text(folder / "header-string-to-sign.txt")
    assert signed["signature"] == _text(folder / "header-signature.txt")
