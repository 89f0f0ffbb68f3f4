from extproc.demo.request_log import CAPACITY, RequestLog, concluded, describe
from extproc.demo.sigv4_request import ReceivedRequest

JWT = b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


def received(*headers, query=b""):
    return ReceivedRequest(method="POST", raw_path=b"/a%2Fb", raw_query=query, headers=headers, body=b"hello")


def test_a_record_holds_the_shape_of_a_request():
    record = describe(received((b"x-request-id", b"r-1"), (b"accept", b"*/*")), http_version="1.1")
    assert (record.method, record.raw_path, record.http_version) == ("POST", "/a%2Fb", "1.1")
    assert (record.body_length, record.body_sha256[:8]) == (5, "2cf24dba")
    assert record.request_id == "r-1"
    assert record.headers == (("x-request-id", "r-1"), ("accept", "*/*"))
    assert (record.authorization_count, record.bearer_seen) == (0, False)


def test_a_bearer_token_is_seen_wherever_it_stands_and_never_kept():
    for name in (b"authorization", b"x-forwarded-access-token", b"cookie", b"x-amz-security-token"):
        record = describe(received((name, b"Bearer " + JWT)), http_version="1.1")
        assert record.bearer_seen
        assert "eyJ" not in repr(record)


def test_a_token_in_the_query_is_not_kept_either():
    assert "eyJ" not in repr(describe(received(query=b"access_token=" + JWT), http_version="1.1"))


def test_of_authorization_the_scheme_and_the_count_remain():
    record = describe(
        received((b"authorization", b"AWS4-HMAC-SHA256 Credential=secret"), (b"authorization", b"opaque")),
        http_version="1.1",
    )
    assert record.authorization_count == 2
    assert record.headers[0][1].startswith("AWS4-HMAC-SHA256 sha256:")
    assert record.headers[1][1].startswith("sha256:")
    assert "secret" not in repr(record)
    assert "opaque" not in repr(record)


def test_of_a_session_token_only_a_digest_remains():
    record = describe(received((b"x-amz-security-token", b"token-value")), http_version="1.1")
    assert record.headers[0][1].startswith("sha256:")
    assert not record.bearer_seen


def test_totals_outlive_the_requests_that_are_kept():
    log = RequestLog()
    record = describe(received((b"authorization", b"Bearer " + JWT)), http_version="1.1")
    for _ in range(CAPACITY + 5):
        log.add(concluded(record, outcome="IncompleteSignature"))
    log.add(concluded(record, outcome="verified", access_key_id="ASIA", arn="arn"))
    assert len(log.requests()) == CAPACITY
    assert log.totals() == {
        "received": CAPACITY + 6,
        "verified": 1,
        "rejected": CAPACITY + 5,
        "bearer_seen": CAPACITY + 6,
    }
    assert log.requests()[-1]["arn"] == "arn"
    log.reset()
    assert (log.requests(), log.totals()["received"]) == ([], 0)
