import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.envoys import SIGNED_PATH
from bench.fallback import prepared, response_length
from bench.load import http_request
from bench.world import BODY


def test_the_body_has_the_size_that_the_targets_name():
    assert len(BODY) == 150


@given(st.binary(max_size=2000))
def test_requests_are_what_they_seem_to_another_parser(body):
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(http_request(token="abc.def.ghi", body=body))
    head = connection.next_event()
    assert (head.method, head.target) == (b"POST", SIGNED_PATH.encode())
    assert dict(head.headers)[b"authorization"] == b"Bearer abc.def.ghi"
    received = b""
    while isinstance(event := connection.next_event(), h11.Data):
        received += event.data
    assert received == body
    assert isinstance(event, h11.EndOfMessage)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_a_response_is_complete_when_another_parser_says_so(body, cut):
    whole = b"HTTP/1.1 200 OK\r\ndate: today\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    arrived = whole[:cut]
    length = response_length(arrived)
    if b"\r\n\r\n" in arrived:
        assert length == len(whole)
    else:
        assert length is None


def test_a_response_without_a_length_is_refused():
    with pytest.raises(ValueError, match="content-length"):
        response_length(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


def test_prepared_requests_come_back_as_they_were_written(tmp_path):
    requests = [http_request(token="t", body=b"a\nb\r\n\r\n"), http_request(body=b"")]
    path = tmp_path / "requests"
    path.write_bytes(b"".join(b"%d\n" % len(request) + request for request in requests))
    assert prepared(path) == requests
