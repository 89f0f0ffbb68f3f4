"""An upstream that verifies signatures as AWS does, with the demo's independent verifier, and keeps what arrived."""

import json
import struct
import threading
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3

from extproc.demo.sigv4_request import ReceivedRequest, SignatureRejected, unverified_access_key_id
from extproc.demo.sigv4_verifier import Endpoint, KnownCredential, verify

REGION = "us-east-1"


@dataclass
class Arrived:
    """One request; ``code``: what the verifier rejected it with, None for a verified one."""

    service: str
    request: ReceivedRequest
    code: str | None = None
    message: str = ""


@dataclass(frozen=True)
class WorkerSpec:
    """A service as extproc's targets name it."""

    host: str
    service: str
    allow_unsigned: bool = False

    @property
    def endpoint(self):
        return Endpoint(
            host=self.host,
            region=REGION,
            service=self.service,
            s3_style=self.service == "s3",
            allow_unsigned_payload=self.allow_unsigned,
        )


PLACES = {
    "s3": WorkerSpec("s3.us-east-1.amazonaws.com", "s3"),
    "dynamodb": WorkerSpec("dynamodb.us-east-1.amazonaws.com", "dynamodb"),
    "sqs": WorkerSpec("sqs.us-east-1.amazonaws.com", "sqs"),
    "sns": WorkerSpec("sns.us-east-1.amazonaws.com", "sns"),
    "lambda": WorkerSpec("lambda.us-east-1.amazonaws.com", "lambda"),
    "bedrock-runtime": WorkerSpec("bedrock-runtime.us-east-1.amazonaws.com", "bedrock"),
    "bedrock": WorkerSpec("bedrock.us-east-1.amazonaws.com", "bedrock"),
}


def targets_yaml(endpoint_url, names=tuple(PLACES)):
    """``targets:`` of all places behind one address, each under its name as the prefix."""
    lines = ["targets:"]
    for name in names:
        place = PLACES[name]
        lines += [
            f"- name: {name}",
            f"  host: {place.host}",
            f"  region: {REGION}",
            f"  service: {place.service}",
            f"  prefix: /{name}",
            f"  endpoint_url: {endpoint_url}",
        ]
    return "\n".join(lines) + "\n"


@dataclass
class Answer:
    """``chunks``: the body, sent chunk by chunk."""

    status: int = 200
    content_type: str = "application/xml"
    chunks: list[bytes] = field(default_factory=list)


class AwsDouble(ThreadingHTTPServer):
    """Answers what ``answers`` has for the end of a path, else 200 without a body.

    ``credentials``: of an access key id, a ``KnownCredential`` or None.
    """

    daemon_threads = True

    def __init__(self, credentials):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.credentials = credentials
        self.answers = {}
        self.arrived = []
        self.go_on = threading.Event()  # between the chunks of an answer
        self.go_on.set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.go_on.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def receive(self, request):
        host = b",".join(request.values("host")).decode()
        service = next((name for name, place in PLACES.items() if place.host == host), host)
        arrived = Arrived(service, request)
        self.arrived.append(arrived)
        try:
            known = self.credentials(unverified_access_key_id(request))
            verify(
                request,
                endpoint=PLACES[service].endpoint,
                lookup=lambda _key_id: known,
                now=datetime.now(UTC),
            )
        except SignatureRejected as rejected:
            arrived.code, arrived.message = rejected.code, rejected.message
            return Answer(403, "application/json", [json.dumps({"message": rejected.code}).encode()])
        path = request.raw_path.decode("latin-1")
        return next((answer for end, answer in self.answers.items() if path.endswith(end)), Answer())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self):
        path, _, query = self.path.partition("?")
        body = self._body()
        # email's parser has the values as text; latin-1 brings the bytes back.
        headers = tuple((k.encode("latin-1"), v.encode("latin-1")) for k, v in self.headers.items())
        answer = self.server.receive(
            ReceivedRequest(self.command, path.encode("latin-1"), query.encode("latin-1"), headers, body)
        )
        self.send_response(answer.status)
        self.send_header("content-type", answer.content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if self.command == "HEAD":
            return
        for position, chunk in enumerate(answer.chunks):
            if position:
                self.server.go_on.wait(20)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _serve  # noqa: N815 - http.server's names

    def _body(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *args):
        pass


def credentials_of(stack):
    """What the demo's STS issued, by access key id."""
    http = urllib3.PoolManager(retries=False, timeout=10.0)

    def lookup(key_id):
        answer = http.request("GET", f"http://{stack.addresses.sts}/_control/credentials/{key_id}")
        if answer.status != 200:
            return None
        found = answer.json()
        return KnownCredential(
            access_key_id=key_id,
            secret_access_key=found["secret_access_key"],
            session_token=found["session_token"],
            expiration=datetime.fromisoformat(found["expiration"]),
            arn=found["arn"],
            session_name=found["session_name"],
        )

    return lookup


def event(kind, payload):
    """One message of an event stream: ``vnd.amazon.eventstream``."""
    headers = b""
    for name, value in (
        (":message-type", "event"),
        (":event-type", kind),
        (":content-type", "application/json"),
    ):
        headers += (
            struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        )
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack("!I", zlib.crc32(message))
