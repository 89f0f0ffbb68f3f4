"""``extproc sign``: every input has an effect, bad input is named, and a difference to AWS is shown."""

import html
import json

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.cli import main
from support.tables import each_case

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
REQUEST = {
    "method": "POST",
    "url": "https://aws-mcp.us-east-1.api.aws/mcp?b=2&a=1",
    "headers": [["Content-Type", "application/json"], ["Accept", "*/*"]],
    "body": "{}",
    "region": "us-east-1",
    "service": "aws-mcp",
    "credentials": KEYS,
    "time": "20150830T123600Z",
}


def invoke(request, *options):
    document = request if isinstance(request, str | bytes) else json.dumps(request)
    return CliRunner().invoke(main, ["sign", *options], input=document)


def signed(**changes):
    result = invoke({**REQUEST, **changes}, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def lines(**changes):
    return signed(**changes)["canonical_request"].split("\n")


def test_the_answer_has_the_three_checkpoints_and_the_headers():
    answer = signed()
    assert set(answer) == {
        "canonical_request", "string_to_sign", "signed_headers", "signature", "authorization", "headers",
    }  # fmt: skip
    assert answer["signed_headers"] == "content-type;host;x-amz-date"
    assert answer["authorization"].endswith(f"Signature={answer['signature']}")
    assert answer["headers"] == {
        "host": "aws-mcp.us-east-1.api.aws",
        "x-amz-date": "20150830T123600Z",
        "authorization": answer["authorization"],
    }


@pytest.mark.parametrize(("service", "auth"), [("aws-mcp", SigV4Auth), ("s3", S3SigV4Auth)])
def test_it_is_botocores_signature(service, auth):
    request = AWSRequest(
        "POST", REQUEST["url"].replace("b=2&a=1", "a=1&b=2"), {"Content-Type": "application/json"}, b"{}"
    )
    request.context["timestamp"] = REQUEST["time"]
    signer = auth(Credentials(*KEYS.values(), "token"), service, "us-east-1")
    signer._modify_request_before_signing(request)
    canonical = signer.canonical_request(request)
    answer = signed(service=service, credentials={**KEYS, "session_token": "token"})
    assert answer["canonical_request"] == canonical
    assert answer["signature"] == signer.signature(signer.string_to_sign(request, canonical), request)


def test_only_the_allow_list_and_what_sign_headers_names_is_signed():
    headers = [["X-A", "1"], ["X-Amz-Target", "t"], ["User-Agent", "u"], ["Authorization", "Bearer x"]]
    assert signed(headers=headers)["signed_headers"] == "host;x-amz-date"
    named = signed(headers=headers, sign_headers=["X-A", "x-amz-target", "authorization", "absent"])
    assert named["signed_headers"] == "host;x-a;x-amz-date;x-amz-target"


def test_the_clients_own_signature_headers_are_replaced():
    headers = [
        ["X-Amz-Date", "20200101T000000Z"],
        ["X-Amz-Security-Token", "theirs"],
        ["X-Amz-Content-Sha256", "x"],
    ]
    assert signed(headers=headers) == signed(headers=[])


def test_the_path_options_have_their_effect():
    url = "https://h.example/a%2Fb//c/../d e"
    assert lines(url=url)[1] == "/a%252Fb/d%20e"
    assert lines(url=url, normalize_path=False)[1] == "/a%252Fb//c/../d%20e"
    assert lines(url=url, double_encode=False)[1] == "/a%2Fb/d%20e"
    assert lines(url=url, service="s3")[1] == "/a%2Fb//c/../d%20e"


@each_case(
    ("changes", "payload", "header"),
    [
        ({}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", False),
        ({"content_sha256_header": True}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", True),
        ({"body": None, "body_base64": "e30="}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", False),
        ({"body": None}, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", False),
        ({"payload": "unsigned"}, "UNSIGNED-PAYLOAD", True),
        ({"payload": "unsigned", "content_sha256_header": False}, "UNSIGNED-PAYLOAD", False),
        ({"service": "vpc-lattice-svcs"}, "UNSIGNED-PAYLOAD", True),
        ({"service": "vpc-lattice-svcs", "payload": "signed"}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", True),
        ({"service": "s3"}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", True),
    ],
)  # fmt: skip
def test_payload_and_its_header(changes, payload, header):
    answer = signed(**changes)
    assert answer["canonical_request"].split("\n")[-1] == payload
    assert answer["headers"].get("x-amz-content-sha256") == (payload if header else None)


def test_the_session_token_is_signed_and_sent():
    answer = signed(credentials={**KEYS, "session_token": "tok"})
    assert "x-amz-security-token:tok" in answer["canonical_request"]
    assert answer["headers"]["x-amz-security-token"] == "tok"


@each_case(
    ("url", "host"),
    [
        ("https://H.Example/", "h.example"),
        ("https://h.example:443/", "h.example"),
        ("http://h.example:80", "h.example"),
        ("https://h.example:8443/", "h.example:8443"),
        ("https://user:pw@h.example?x", "h.example"),
    ],
)
def test_the_host_is_what_a_client_would_send(url, host):
    assert signed(url=url)["headers"]["host"] == host


def test_a_host_header_wins_over_the_url():
    assert signed(url="/x", headers=[["Host", "other.example"]])["headers"]["host"] == "other.example"


def test_without_a_time_it_is_now():
    answer = signed(time=None)
    assert answer["headers"]["x-amz-date"] > "20260101T000000Z"


@each_case(
    ("request_", "message"),
    [
        ("", "document: not valid JSON"),
        ("[]", "document: not a JSON object"),
        ('{"a":1,"a":2}', "document: duplicate member names"),
        (b"\xff", "document: not valid JSON"),
        ({}, "method: Field required"),
        ({**REQUEST, "extra": 1}, "extra: unknown key"),
        ({**REQUEST, "method": "GET /"}, "method: "),
        ({**REQUEST, "method": 7}, "method: "),
        ({**REQUEST, "url": "ftp://x/"}, "url: must be an http(s) URL"),
        ({**REQUEST, "url": "/x"}, "url: has no host"),
        ({**REQUEST, "url": ""}, "url: must be"),
        ({**REQUEST, "headers": {"a": "b"}}, "headers: "),
        ({**REQUEST, "headers": [["a"]]}, "headers[0]: "),
        ({**REQUEST, "headers": [["a b", "c"]]}, "headers[0]: not a header name"),
        ({**REQUEST, "headers": [["host", "a"], ["Host", "b"]]}, "headers: host is there twice"),
        ({**REQUEST, "body_base64": "e30="}, "body and body_base64 exclude each other"),
        ({**REQUEST, "body": None, "body_base64": "?"}, "body_base64: must be base64"),
        ({**REQUEST, "body": None, "body_base64": "é"}, "body_base64: must be base64"),
        ({**REQUEST, "body": {}}, "body: "),
        ({**REQUEST, "time": "2015-08-30"}, "time: must be like"),
        ({**REQUEST, "time": "20151330T123600Z"}, "time: must be like"),
        ({**REQUEST, "payload": "none"}, "payload: "),
        ({**REQUEST, "region": "us east"}, "region: "),
        ({**REQUEST, "credentials": {"access_key_id": "A"}}, "credentials.secret_access_key: Field required"),
        ({**REQUEST, "credentials": {**KEYS, "session_token": ""}}, "credentials.session_token: "),
        ({**REQUEST, "sign_headers": ["a b"]}, "sign_headers[0]: "),
    ],
)
def test_bad_input_is_one_line_and_exits_2(request_, message):
    result = invoke(request_, "--json")
    assert result.exit_code == 2
    assert message in result.stderr
    assert KEYS["secret_access_key"] not in result.output


@settings(suppress_health_check=[HealthCheck.too_slow])  # each example is a command
@given(
    st.dictionaries(
        st.sampled_from([*REQUEST, "x"]),
        st.none() | st.booleans() | st.text(max_size=9) | st.integers(),
        max_size=4,
    )
)
def test_no_input_crashes(changes):
    result = invoke({**REQUEST, **changes}, "--json")
    assert result.exit_code in (0, 2)
    assert result.exception is None or isinstance(result.exception, SystemExit)


@given(target=st.text(max_size=40), value=st.text(max_size=20), body=st.text(max_size=20))
def test_no_url_header_or_body_crashes(target, value, body):
    changes = {
        "url": f"https://h.example/{target}",
        "headers": [["x-a", value]],
        "body": body,
        "sign_headers": ["x-a"],
    }
    result = invoke({**REQUEST, **changes}, "--json")
    assert result.exit_code in (0, 2)
    if result.exit_code == 0:
        assert len(json.loads(result.stdout)["canonical_request"].split("\n")) == 9


def test_users_get_numbered_lines_with_their_meaning():
    result = invoke(REQUEST)
    assert result.exit_code == 0
    assert "  2  /mcp   path" in result.stdout
    assert "credential scope" in result.stdout
    assert signed()["signature"] in result.stdout
    assert "\x1b[" not in result.stdout  # colours are for terminals


# What AWS prints.

AWS_CANONICAL = signed()["canonical_request"]
AWS_TO_SIGN = signed()["string_to_sign"]
MESSAGE = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
    "Access Key and signing method. Consult the service documentation for details.\n\n"
    "The Canonical String for this request should have been\n'{0}'\n\n"
    "The String-to-Sign should have been\n'{1}'\n"
)
FORMS = {
    "plain": lambda text: text,
    "json": lambda text: json.dumps({"message": text}),
    "nested json": lambda text: json.dumps({"error": {"data": [{"Message": text}]}}),
    "json cut out of a log": lambda text: 'WARN body={"message":' + json.dumps(text) + "} status=403",
    "xml": lambda text: (
        f"<ErrorResponse><Error><Message>{html.escape(text)}</Message></Error></ErrorResponse>"
    ),
    "xml with line escapes": lambda text: f"<Message>{html.escape(text)}</Message>".replace("\n", "&#10;"),
    "crlf": lambda text: text.replace("\n", "\r\n"),
}


@each_case("form", FORMS)
def test_the_same_strings_compare_as_the_same(form):
    error = FORMS[form](MESSAGE.format(AWS_CANONICAL, AWS_TO_SIGN))
    result = invoke(REQUEST, "--compare", error)
    assert result.exit_code == 0, result.output
    assert "the same" in result.stdout
    assert json.loads(invoke(REQUEST, "--json", "--compare", error).stdout)["difference"] is None


@each_case("form", FORMS)
@each_case(
    ("change", "line", "meaning"),
    [
        (("/mcp", "/mcp/"), 2, "path"),
        (("a=1&b=2", "a=1&copy=%22'&lt=2"), 3, "query"),
        (("application/json", "text/plain; x='y'"), 4, "header"),
        (("content-type;host", "host"), 8, "signed headers"),
    ],
)
def test_the_first_line_that_differs_is_shown(form, change, line, meaning):
    aws = AWS_CANONICAL.replace(*change, 1)
    error = FORMS[form](MESSAGE.format(aws, "AWS4-HMAC-SHA256\nx\ny\n" + "0" * 64))
    result = invoke(REQUEST, "--json", "--compare", error)
    assert result.exit_code == 1
    difference = json.loads(result.stdout)["difference"]
    assert difference == {
        "checkpoint": "canonical_request",
        "line": line,
        "meaning": meaning,
        "ours": AWS_CANONICAL.split("\n")[line - 1],
        "aws": aws.split("\n")[line - 1],
    }
    shown = invoke(REQUEST, "--compare", error).stdout
    assert f"canonical request, line {line} ({meaning})" in shown


def test_a_header_that_only_aws_received_is_shown_at_its_line():
    aws = AWS_CANONICAL.replace("host:aws", "a:1\nhost:aws")
    difference = json.loads(invoke(REQUEST, "--json", "--compare", MESSAGE.format(aws, "")).stdout)[
        "difference"
    ]
    assert (difference["line"], difference["aws"]) == (5, "a:1")


@pytest.mark.parametrize(
    "error",
    [
        f"The String-to-Sign should have been\n'{AWS_TO_SIGN.replace('us-east-1', 'us-west-2')}'",
        f"<Error><StringToSign>{AWS_TO_SIGN.replace('us-east-1', 'us-west-2')}</StringToSign></Error>",
    ],
)
def test_a_string_to_sign_alone_is_compared(error):
    difference = json.loads(invoke(REQUEST, "--json", "--compare", error).stdout)["difference"]
    assert (difference["checkpoint"], difference["line"], difference["meaning"]) == (
        "string_to_sign",
        3,
        "credential scope",
    )


@each_case("error", ["", "nothing here", "The Canonical String for this request should have been", "{}"])
def test_an_error_without_either_exits_2(error):
    result = invoke(REQUEST, "--compare", error)
    assert result.exit_code == 2
    assert "no canonical string" in result.stderr


def test_the_example_is_a_request_that_can_be_signed():
    printed = CliRunner().invoke(main, ["sign", "--example"])
    assert printed.exit_code == 0
    signed = CliRunner().invoke(main, ["sign", "--json"], input=printed.stdout)
    assert signed.exit_code == 0
    assert "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" in json.loads(signed.stdout)["headers"]["authorization"]
