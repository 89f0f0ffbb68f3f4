"""Clients' headers through the real Envoy to a service like S3: signed and forwarded, ours, or a 400."""

import json

import pytest

from support.http import raw
from support.upstreams import stack_with

BODY = "Content-Length: 2\r\nConnection: close\r\n\r\n{}"
SHA256_OF_BODY = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
OURS = {
    "Date": "Mon, 01 Jan 2001 00:00:00 GMT",
    "X-Amz-Date": "20150830T123600Z",
    "x-amz-security-token": "theirs",
    "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD",
    "Proxy-Authorization": "Bearer theirs",
    "Cookie": "token=theirs",
}
REFUSED = [
    "X-Amz-Credential", "X-Amz-Signature", "x-amz-algorithm", "X-AMZ-SIGNEDHEADERS", "X-Amz-Expires",
    "X-Amz-Region-Set", "X-Amz-S3session-Token", "x-amz-bearer", "WorkloadAccessToken",
    "X-Amzn-Bedrock-AgentCore-Runtime-User-Id", "X-HTTP-Method-Override", "X-Method-Override",
    "x-amz-chime-bearer", "X_Amz_Date", "x-amz-security_token", "X_Amzn_Oidc_Identity",
]  # fmt: skip
SERVED = {
    "copy": "x-amz-copy-source: /bucket/a%20key?versionId=1\r\nx-amz-metadata-directive: COPY\r\n",
    "encryption": "X-Amz-Server-Side-Encryption: aws:kms\r\nx-amz-storage-class: GLACIER\r\n",
    "metadata": 'x-amz-meta-Name:  two  spaces  and "quotes  too" \r\nx-amz-meta-empty:\r\nx-amz-meta-b: 2\r\n',
    "many": "".join(f"x-amz-meta-{n}: {n}\r\n" for n in range(40)),
    "tagging": "x-amz-tagging: a=b&c=d%20e\r\nx-amz-expected-bucket-owner: 123456789012\r\n",
    "target": "X-Amz-Target: DynamoDB_20120810.PutItem\r\nContent-Type: application/x-amz-json-1.0\r\n",
    "its own hash": f"x-amz-content-sha256: {SHA256_OF_BODY}\r\n",
    "trace": "X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793\r\n",
    "a load balancer's": "x-amzn-oidc-identity: boss\r\nx-amzn-oidc-data: e30.e30.e30\r\n",
}
AMBIGUOUS = {
    "x-amz-meta-a": "x-amz-meta-a: 1\r\nX-Amz-Meta-A: 2\r\n",
    "x-amz-acl": "x-amz-acl: public-read\r\nx-amz-acl: private\r\n",
    "x-amz-meta-tab": "x-amz-meta-tab: a\tb\r\n",
    "x-amz-meta-name": "x-amz-meta-name: caf\xe9\r\n",
    "content-type": "Content-Type: text/plain;\tcharset=utf-8\r\n",
}


@pytest.fixture(scope="module")
def shared_bucket(tmp_path_factory):
    with stack_with(
        tmp_path_factory.mktemp("bucket"), "s3", host="bucket.s3.us-east-1.amazonaws.com", prefix="/s3",
        settings="  withhold_headers: [x-amz-meta-internal-*]\n", arguments=["--s3-style"],
    ) as upstream:  # fmt: skip
        yield upstream


@pytest.fixture
def bucket(shared_bucket):
    shared_bucket.control("reset", {})
    return shared_bucket


def put(bucket, headers, key="key"):
    stack = bucket.stack
    request = f"PUT /s3/{key} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.token('demo-admin')}\r\n{headers}{BODY}"
    answer = raw(stack.addresses.envoy, request.encode("latin-1"))
    return int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.parametrize("times", [1, 3])
def test_what_the_service_acts_on_arrives_signed_and_as_it_was_sent(bucket, name, times):
    for _ in range(times):
        assert put(bucket, SERVED[name])[0] == 200
    sent = dict(line.split(":", 1) for line in SERVED[name].split("\r\n")[:-1])
    for seen in bucket.seen:
        assert seen["outcome"] == "verified"  # the verifier wants every x-amz-* signed
        arrived = dict(seen["headers"])
        for header, value in sent.items():
            if not header.startswith("x-amzn-oidc"):
                assert arrived[header.lower()].strip() == value.strip()
        assert not [header for header in arrived if header.startswith("x-amzn-oidc")]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("twice", [False, True])
def test_what_is_always_ours_never_arrives_as_the_client_sent_it(bucket, name, twice):
    status, _ = put(bucket, f"{name}: {OURS[name]}\r\n" * (2 if twice else 1))
    assert status == 200
    (seen,) = bucket.seen
    assert seen["outcome"] == "verified"
    assert OURS[name] not in [value for _, value in seen["headers"]]
    assert seen["authorization_count"] == 1
    assert not seen["bearer_seen"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_client_may_send_is_a_400_that_names_it_and_goes_nowhere(bucket, name):
    status, body = put(bucket, f"{name}: secret-value\r\n")
    assert status == 400
    assert name.lower() in json.loads(body)["error_description"]
    assert b"secret-value" not in body
    assert bucket.seen == []


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_header_that_is_read_in_two_ways_is_a_400_that_names_it(bucket, name):
    status, body = put(bucket, AMBIGUOUS[name])
    assert status == 400
    assert name in json.loads(body)["error_description"]
    assert bucket.seen == []


def test_withheld_headers_do_not_arrive_and_are_counted(bucket):
    assert put(bucket, "x-amz-meta-internal-id: 1\r\nX-Amz-Meta-Name: n\r\n")[0] == 200
    (seen,) = bucket.seen
    assert seen["outcome"] == "verified"
    names = [name for name, _ in seen["headers"] if name.startswith("x-amz-meta")]
    assert names == ["x-amz-meta-name"]
    metrics = bucket.stack.http.request("GET", f"http://{bucket.stack.addresses.extproc_admin}/metrics").data
    assert b'extproc_withheld_headers_total{target="s3"}' in metrics


def test_what_connection_names_is_gone_before_it_is_signed(bucket):
    assert put(bucket, "Connection: x-amz-acl\r\nx-amz-acl: private\r\n")[0] in (200, 400)
    assert [seen["outcome"] for seen in bucket.seen] in ([], ["verified"])


@pytest.mark.parametrize("key", ["a%0Ab", "%01%1F%7F", "a//b", "a%5Cb", "%FF", "a%20b", "~a%2Bb", "..a"])
def test_odd_keys_of_objects_arrive_and_verify(bucket, key):
    assert put(bucket, "", key)[0] == 200
    (seen,) = bucket.seen
    assert (seen["raw_path"], seen["outcome"]) == (f"/{key}", "verified")


@pytest.mark.parametrize(
    ("key", "named"),
    [("a/../b", '\\"..\\"'), ("a%2Fb", "%2F"), ("a\\b", "\\\\"), ("a?b=c+d", '\\"+\\"'), ("a%zz", "%")],
)
def test_a_key_that_cannot_work_is_a_400_that_names_the_character(bucket, key, named):
    status, body = put(bucket, "", key)
    assert status == 400
    assert named.encode() in body
    assert bucket.seen == []
