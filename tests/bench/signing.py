"""What one signature costs, beside botocore's, in the same run: ``python tests/bench/signing.py``.

A POST of 150 bytes with an MCP client's usual headers and a session token of 800 characters.
"""

import time
import timeit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from extproc.signing.path import forwardable
from extproc.signing.payload import payload_of
from extproc.signing.signer import Signer
from extproc.signing.sigv4 import Scope
from extproc.signing.targets import Target
from extproc.values import Credentials, RequestHead

HOST, BODY, TOKEN = "aws-mcp.us-east-1.api.aws", b"x" * 150, "t" * 800
HEADERS = (
    ("accept", "application/json, text/event-stream"), ("accept-encoding", "gzip"),
    ("content-type", "application/json"), ("content-length", "150"), ("user-agent", "bench"),
    ("mcp-session-id", "0123456789abcdef"), ("mcp-protocol-version", "2025-11-25"), ("x-request-id", "r"),
    ("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.1"), ("authorization", "Bearer " + "j" * 900),
)  # fmt: skip


def microseconds(function, number=20_000, repeat=7):
    return min(timeit.repeat(function, number=number, repeat=repeat)) / number * 1e6


def main():
    target = Target(name="mcp", host=HOST, scope=Scope("us-east-1", "aws-mcp"))
    credentials = Credentials("ASIAEXAMPLE", "s" * 40, TOKEN, time.time() + 900)
    head, signer = RequestHead("POST", "/mcp", HOST, HEADERS, True), Signer(time.time)
    auth = SigV4Auth(BotocoreCredentials("ASIAEXAMPLE", "s" * 40, TOKEN), "aws-mcp", "us-east-1")

    def ours():
        payload = payload_of(BODY, head=head, target=target).hash
        signer.sign(head=head, path="/mcp", query="", target=target, credentials=credentials, payload=payload)

    def botocores():
        request = AWSRequest("POST", f"https://{HOST}/mcp", {"Content-Type": "application/json"}, BODY)
        auth.add_auth(request)

    rows = [
        ("payload hash and signature", microseconds(ours)),
        ("path check (/mcp)", microseconds(lambda: forwardable("/mcp", slashes_matter=False))),
        ("botocore SigV4Auth", microseconds(botocores, number=2_000)),
    ]
    for name, cost in rows:
        print(f"{name:32}{cost:8.1f} us")


if __name__ == "__main__":
    main()
