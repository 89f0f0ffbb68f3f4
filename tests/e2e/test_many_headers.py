"""More headers than Envoy takes after our mutation: refused with 431, never allowed and then a 500."""

import json

import pytest

from support.http import raw

KINDS = {
    "GET": "\r\n",
    "POST": "Content-Length: 2\r\n\r\n{}",
    "POST of unknown length": "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_at_envoys_limit_is_signed_and_one_beyond_it_a_431(stack, kind):
    token = stack.token("demo-admin")
    place = "/many/" + kind.replace(" ", "-")
    statuses = {}
    for count in range(86, 97):
        lines = [
            f"{kind.partition(' ')[0]} {place}/{count} HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {token}",
        ]
        lines += [f"x-h{number}: 1" for number in range(count)]
        request = "\r\n".join([*lines, "Connection: close", KINDS[kind]])
        statuses[count] = int(raw(stack.addresses.envoy, request.encode())[9:12])
    allowed = [count for count, status in statuses.items() if status != 431]
    assert allowed
    assert allowed == list(range(86, 86 + len(allowed)))
    # Not 500: what was allowed has gone upstream.
    assert [seen["raw_path"] for seen in stack.control("mcp", "requests")] == [
        f"{place}/{n}" for n in allowed
    ]
    lines = (stack.directory / "audit.log").read_text().splitlines()
    events = [event for event in map(json.loads, lines) if event["path"].startswith(f"{place}/")]
    refused = {event["path"] for event in events if event["reason"] == "too_many_headers"}
    assert refused.isdisjoint(event["path"] for event in events if event["decision"] == "allow")
