"""Seeded random requests through the whole signing room, each equal to botocore's signature.

EXTPROC_SIGV4_SAMPLES sets how many (2000), EXTPROC_SIGV4_SEED which. Where botocore is known to
differ, the list is at the top of test_sigv4.py: it gets path and query as ``forwardable`` made
them, so what is compared is what goes upstream.
"""

import os
import random

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from extproc.errors import Denied
from extproc.signing.path import forwardable
from extproc.signing.payload import payload_of
from extproc.signing.signer import Signer
from extproc.signing.sigv4 import Scope, timestamp
from extproc.signing.targets import Target
from extproc.values import Credentials, RequestHead

SAMPLES = int(os.environ.get("EXTPROC_SIGV4_SAMPLES", "2000"))
SEED = int(os.environ.get("EXTPROC_SIGV4_SEED", "20150830"))
PATH_PARTS = [
    "a", "Z", "9", "-", "_", ".x", "~", "%2F", "%2f", "%25", "%3A", "%20", "%C3%A9", "%7E", "%41", ";", "=", ":",
    "@", "!", "$", "&", "'", "(", ")", "*", "+", ",", "/", "/", "//", ".", "..",
]  # fmt: skip
QUERY_PARTS = [
    "a", "B", "1", "-", ".", "_", "~", "=", "=", "&", "&", "%20", "%2B", "%2f", "%7e", "%C3%A9", "%26", "%3D", ":",
    "/", "?", "[", "]", "'", "(", "*", ",", ";", "@", "!", "$", "|", "^", "`", "{", "}",
]  # fmt: skip
CONTENT_TYPES = [
    None,
    "application/json",
    "application/json; charset=utf-8",
    ' a/b;   x="1  2" ',
    "text/plain",
]
SERVICES = ["aws-mcp", "bedrock-agentcore", "execute-api", "lambda", "s3"]
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]


def some(dice, parts, most):
    return "".join(dice.choices(parts, k=dice.randrange(most)))


def test_random_requests_are_signed_as_botocore_signs_them():
    dice = random.Random(SEED)
    signed = refused = 0
    while signed < SAMPLES:
        raw = f"/{some(dice, PATH_PARTS, 12)}?{some(dice, QUERY_PARTS, 20)}"
        service, method, content_type = (
            dice.choice(SERVICES),
            dice.choice(METHODS),
            dice.choice(CONTENT_TYPES),
        )
        target = Target(
            name="t",
            host=f"h{dice.randrange(9)}.example.com",
            scope=Scope(f"us-east-{dice.randrange(1, 3)}", service),
        )
        try:
            path, query = forwardable(raw, slashes_matter=target.s3_style)
        except Denied:
            refused += 1
            continue
        body, now = dice.randbytes(dice.randrange(200)), float(dice.randrange(1_400_000_000, 2_000_000_000))
        credentials = Credentials(
            f"ASIA{dice.randrange(10**12)}", f"{dice.random()}", f"t/{dice.random()}==", now
        )
        headers = (("content-type", content_type),) if content_type else ()
        head = RequestHead(method, raw, "gateway", headers, bool(body))
        ours = Signer(lambda now=now: now).sign(
            method=method, clients=target.client_headers.sort(head).signed, path=path, query=query,
            target=target, credentials=credentials, payload=payload_of(body, head=head, target=target).hash,
        )  # fmt: skip
        assert dict(ours.headers)["authorization"] == by_botocore(
            method, path, query, body, content_type, target, credentials, now
        ), (SEED, signed, raw)
        signed += 1
    assert refused < SAMPLES * 20  # the sample is no mere row of refusals


def by_botocore(method, path, query, body, content_type, target, credentials, now):  # noqa: PLR0917
    kind = S3SigV4Auth if target.s3_style else SigV4Auth
    keys = BotocoreCredentials(
        credentials.access_key_id, credentials.secret_access_key, credentials.session_token
    )
    auth = kind(keys, target.scope.service, target.scope.region)
    url = f"https://{target.host}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, {"Content-Type": content_type} if content_type else {}, body)
    request.context["timestamp"] = timestamp(now)
    auth._modify_request_before_signing(request)
    to_sign = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(to_sign, request))
    return request.headers["Authorization"]
