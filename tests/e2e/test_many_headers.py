"""More headers than Envoy takes after our mutation: refused with 431, never allowed and then a 500."""

import json

import pytest
import yaml

from support.http import raw
from support.stacks import Stack
from support.supervised import until

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


@pytest.fixture(scope="module", params=[None, 40], ids=["60 KiB", "40 KiB"])
def signing(request, tmp_path_factory):
    """A stack whose signatures name many headers and so are large, and Envoy's limit in bytes."""
    kib = request.param

    def adjust(text):
        settings = yaml.safe_load(text)
        settings["targets"][0]["sign_headers"] = ["x-h-*"]
        if kib is not None:
            settings["limits"] = {"request_headers": 120, "request_headers_kib": kib}
        return yaml.safe_dump(settings)

    with Stack(tmp_path_factory.mktemp("stack"), adjust=adjust) as stack:
        yield stack, (kib or 60) * 1024


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_at_envoys_limit_in_bytes_is_signed_and_one_beyond_it_a_431(signing, kind):
    stack, limit = signing
    token = stack.token("demo-admin")
    stack.control("mcp", "reset", {})
    place = "/large/" + kind.replace(" ", "-")
    names = [f"x-h-{number}-{'n' * 200}" for number in range(70)]
    statuses = {}
    for size in range(limit - 19_000, limit - 12_000, 250):
        value = "v" * ((size - len("".join(names))) // len(names))
        lines = [
            f"{kind.partition(' ')[0]} {place}/{size} HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {token}",
            *(f"{name}: {value}" for name in names),
        ]
        request = "\r\n".join([*lines, "Connection: close", KINDS[kind]])
        statuses[size] = int(raw(stack.addresses.envoy, request.encode())[9:12])
    assert set(statuses.values()) == {200, 431}
    allowed = [size for size, status in statuses.items() if status == 200]
    assert allowed == list(statuses)[: len(allowed)]
    # Not 500: what was allowed has gone upstream.
    assert [seen["raw_path"] for seen in stack.control("mcp", "requests")] == [
        f"{place}/{size}" for size in allowed
    ]

    def decided(decision):
        lines = (stack.directory / "audit.log").read_text().splitlines()
        events = [event for event in map(json.loads, lines) if event["path"].startswith(f"{place}/")]
        return [event["path"] for event in events if decision in (event["decision"], event["reason"])]

    expected = {f"{place}/{size}" for size, status in statuses.items() if status == 431}
    until(lambda: expected <= set(decided("too_many_headers")), "the audit log has the refusals")
    assert expected.isdisjoint(decided("allow"))


@pytest.mark.parametrize("signing", [40], indirect=True)
def test_envoy_takes_as_many_headers_as_the_settings_say(signing):
    stack, _ = signing
    token = stack.token("demo-admin")
    statuses = []
    for count in range(95, 120):
        lines = ["GET /many HTTP/1.1", "Host: x", f"Authorization: Bearer {token}"]
        lines += [f"x-h{number}: 1" for number in range(count)]
        statuses.append(
            int(raw(stack.addresses.envoy, "\r\n".join([*lines, "Connection: close\r\n\r\n"]).encode())[9:12])
        )
    assert set(statuses) == {200, 431}
    assert statuses == sorted(statuses)
    assert statuses.count(200) > 10
