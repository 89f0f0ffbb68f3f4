"""Every operation of S3, DynamoDB, SQS, SNS, Lambda and Bedrock by boto3: what arrives is what was sent, and signed."""

import collections
import http.client
import ssl
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import botocore.session
import pytest
from botocore.exceptions import ClientError

from extproc.demo.sigv4_request import ReceivedRequest
from support.aws_inputs import has_event_stream_input, parameters

SESSION = botocore.session.Session()
SERVICES = ("s3", "dynamodb", "sqs", "sns", "lambda", "bedrock-runtime", "bedrock")
# Ours, the hop's, or about the connection.
NOT_COMPARED = frozenset(
    {
        "authorization", "host", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256",
        "connection", "content-length", "transfer-encoding", "expect", "accept-encoding",
        # aws-chunked is decoded: these describe the encoding.
        "x-amz-decoded-content-length", "x-amz-trailer",
    }
)  # fmt: skip
ADDED_BY_US = frozenset({"x-request-id"})


def operations():
    for service in SERVICES:
        model = SESSION.get_service_model(service)
        for name in model.operation_names:
            if not has_event_stream_input(model.operation_model(name)):  # needs HTTP/2, which boto3 has not
                yield service, name


class Recorder:
    """Keeps what a client is about to send."""

    def __init__(self):
        self.request = None

    def __call__(self, request, **_):
        self.request = request
        body = request.body
        if hasattr(body, "read"):
            at = body.tell() if not hasattr(body, "_raw") else 0
            self.body = body.read()
            body.seek(at)
        else:
            self.body = body.encode() if isinstance(body, str) else body or b""


@pytest.fixture(scope="module")
def clients(aws_gateway):
    made = {}
    for service in SERVICES:
        client = aws_gateway.client(service, inject_host_prefix=False)
        recorder = Recorder()
        client.meta.events.register_last("before-send", recorder)
        made[service] = client, recorder
    yield made
    for client, _ in made.values():
        client.close()


def sent(recorder, service):
    """A request as boto3 sent it: the path without the target's prefix, and the body without its chunks."""
    parts = urlsplit(recorder.request.url)
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else str(value)
        for name, value in recorder.request.headers.items()
    }
    body = recorder.body
    if "aws-chunked" in headers.get("content-encoding", ""):
        body = dechunked(body)
        rest = [one for one in headers.pop("content-encoding").split(",") if one != "aws-chunked"]
        if rest:
            headers["content-encoding"] = ",".join(rest)
    path = parts.path.removeprefix(f"/{service}") or "/"
    return recorder.request.method, path, parts.query, headers, body


def dechunked(body):
    data = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if not length:
            return data
        data += body[:length]
        body = body[length + 2 :]


def check(sent, arrived):
    """Compare what was sent with what arrived."""
    method, path, query, headers, body = sent
    request: ReceivedRequest = arrived.request
    assert (arrived.code, arrived.message) == (None, "")
    assert request.method == method
    assert unquote_to_bytes(request.raw_path) == unquote_to_bytes(path)
    assert request.raw_path.lower().count(b"%2f") == path.lower().count("%2f")
    assert parse_qsl(request.raw_query.decode(), keep_blank_values=True) == sorted(
        parse_qsl(query, keep_blank_values=True)
    ) or parse_qsl(request.raw_query.decode(), keep_blank_values=True) == parse_qsl(
        query, keep_blank_values=True
    )
    assert request.body == body
    got = {name.decode().lower(): value.decode("latin-1") for name, value in request.headers}
    for name in headers.keys() - NOT_COMPARED:
        assert got.get(name) == headers[name], name
    invented = {
        name for name in got.keys() - headers.keys() - NOT_COMPARED if not name.startswith("x-amz-checksum-")
    }
    assert invented <= ADDED_BY_US
    bearer = [value for value in got.values() if "Bearer" in value or "eyJ" in value]
    assert bearer == []


def call(aws_gateway, clients, service, operation, *, every):
    client, recorder = clients[service]
    upstream = aws_gateway.upstream
    upstream.arrived.clear()
    upstream.answers = {}
    recorder.request = None
    model = SESSION.get_service_model(service).operation_model(operation)
    method = next(name for name, api in client.meta.method_to_api_mapping.items() if api == operation)
    error = None
    try:
        answer = getattr(client, method)(**parameters(model, every=every))
        for part in answer.values():
            if hasattr(part, "close"):
                part.close()
    except ClientError as refused:
        error = refused
    except Exception as failed:
        if recorder.request is None:
            raise
        error = failed
    return recorder, upstream.arrived, error


REFUSED_BY_THE_HOOK = {("s3", "ListDirectoryBuckets"): "directory buckets"}


def cases():
    """Every operation, with all its parameters and with the required ones.

    In the gate: all of S3, whose requests differ in everything, and of services whose operations have one form
    each fourth one.
    """
    seen = collections.Counter()
    for service, operation in operations():
        seen[service] += 1
        for every, sampled in ((True, seen[service] % 4 == 1), (False, False)):
            marks = () if service == "s3" or sampled else pytest.mark.long
            kind = "every" if every else "required"
            yield pytest.param(service, operation, every, id=f"{service}-{operation}-{kind}", marks=marks)


@pytest.mark.parametrize(("service", "operation", "every"), list(cases()))
def test_an_operation_arrives_as_it_was_sent(aws_gateway, clients, service, operation, every):
    if (service, operation) in REFUSED_BY_THE_HOOK:
        with pytest.raises(ValueError, match=REFUSED_BY_THE_HOOK[service, operation]):
            call(aws_gateway, clients, service, operation, every=every)
        return
    recorder, arrived, error = call(aws_gateway, clients, service, operation, every=every)
    assert len(arrived) == 1, error
    assert arrived[0].service == service
    check(sent(recorder, service), arrived[0])


# Requests of DynamoDB and SQS differ by their body and one header only.
BY_PLAIN_HTTP = [
    pytest.param(service, name, id=f"{service}-{name}", marks=() if service == "s3" else pytest.mark.long)
    for service, name in operations()
    if service in ("s3", "dynamodb", "sqs")
]


@pytest.fixture(scope="module")
def plain(aws_gateway):
    """An HTTP client that knows nothing of AWS."""
    host, _, port = aws_gateway.stack.addresses.envoy.partition(":")
    context = ssl.create_default_context(cafile=aws_gateway.ca_file)
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)
    token = aws_gateway.token()

    def send(method, path, query, headers, body):
        given = {name: value for name, value in headers.items() if name not in NOT_COMPARED}
        url = f"{path}?{query}" if query else path
        connection.request(method, url, body=body, headers={**given, "authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    yield send
    connection.close()


@pytest.mark.parametrize(("service", "operation"), BY_PLAIN_HTTP)
def test_the_same_by_plain_http(aws_gateway, clients, plain, service, operation):
    if (service, operation) in REFUSED_BY_THE_HOOK:
        return
    recorder, _, _ = call(aws_gateway, clients, service, operation, every=True)
    method, path, query, headers, body = sent(recorder, service)
    aws_gateway.upstream.arrived.clear()
    status, told = plain(method, f"/{service}{path}", query, headers, body)
    assert status == 200, told
    check((method, path, query, headers, body), aws_gateway.upstream.arrived[0])
