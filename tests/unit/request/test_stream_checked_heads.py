"""Known heads are checked now and then: should one ever mean something else, it is denied and counted."""

import json
from dataclasses import replace

import pytest

from extproc.head_memory.fingerprint import fingerprint
from extproc.head_memory.memory import FORGOTTEN
from support.driven import drive
from support.envoy_messages import NO_BODY, body_message, headers_message
from support.pipelines import Parts
from support.tables import each_case


def head(request_id="id-1", **more):
    return headers_message(headers=[("x-request-id", request_id), ("accept", "*/*")], **more)


async def known(**more):
    parts = Parts(check_one_head_in=1, **more)
    for _ in range(2):
        await drive(parts, head(), body_message())
    assert len(parts.pipeline.heads) == 1
    return parts


def checks(parts):
    return {
        outcome: parts.metrics.registry.get_sample_value("extproc_head_checks_total", {"outcome": outcome})
        for outcome in ("same", "different")
    }


async def test_a_head_that_means_the_same_is_answered_as_ever():
    parts = await known()
    for number in range(3):
        seen = await drive(parts, head(f"id-{number}"), body_message())
        assert seen[-1].is_signed
    assert checks(parts) == {"same": 3, "different": 0}


async def test_one_in_so_many_is_checked():
    parts = Parts(check_one_head_in=4)
    for number in range(2):
        await drive(parts, head(f"id-{number}"), body_message())
    shares = iter([0.24, 0.25, 0.9, 0.0])
    parts.pipeline.heads._random_share = lambda: next(shares)
    counts = []
    for number in range(4):
        await drive(parts, head(f"id-{number}"), body_message())
        counts.append(checks(parts)["same"])
    assert counts == [1, 1, 1, 2]


CHANGES = {
    "the token": lambda a: replace(a, unverified_token="other"),
    "the digest": lambda a: replace(a, digest=b"other"),
    "the path": lambda a: replace(a, path="/other"),
    "the query": lambda a: replace(a, query="a=b"),
    "what is removed": lambda a: replace(a, removed=()),
    "what is signed": lambda a: replace(a, signed=(("x-a", "b"),)),
    "what decides": lambda a: replace(a, decided_by_body=True),
    "the target": lambda a: replace(a, target=replace(a.target, name="other")),
    "the method": lambda a: replace(a, head=replace(a.head, method="PUT")),
    "the raw path": lambda a: replace(a, head=replace(a.head, path="/other")),
    "the host": lambda a: replace(a, head=replace(a.head, authority="other.example")),
    "whether there is a body": lambda a: replace(a, head=replace(a.head, has_body=False)),
    "what Envoy verified": lambda a: replace(a, head=replace(a.head, jwt_payload={"sub": "bob"})),
    "a header's value": lambda a: replace(
        a, head=replace(a.head, headers=tuple((n, "x" if n == "accept" else v) for n, v in a.head.headers))
    ),
    "a header's name": lambda a: replace(
        a, head=replace(a.head, headers=tuple(("b" if n == "accept" else n, v) for n, v in a.head.headers))
    ),
    "the number of headers": lambda a: replace(a, head=replace(a.head, headers=a.head.headers[:-1])),
}


@each_case("what", CHANGES)
async def test_a_difference_is_denied_counted_and_ends_the_memory(what):
    parts = await known()
    memory = parts.pipeline.heads
    ((key, known_head),) = memory._heads._young.items()
    memory._heads.put(key, replace(known_head, admission=CHANGES[what](known_head.admission)))
    (denied,) = await drive(parts, head("id-2"), body_message())
    assert denied.status == 500
    assert checks(parts) == {"same": 0, "different": 1}
    assert not memory.enabled
    served = await drive(parts, head("id-3"), body_message())
    assert served[-1].is_signed
    assert checks(parts) == {"same": 0, "different": 1}


async def test_nothing_is_remembered_where_the_configuration_says_so():
    parts = Parts(remember_heads=False)
    for number in range(4):
        seen = await drive(parts, head(f"id-{number}"), body_message())
        assert seen[-1].is_signed
    assert len(parts.pipeline.heads) == 0


@each_case(
    "read",
    [
        str, bool, len, list, hash, json.dumps, "{}".format, lambda v: v == "", lambda v: v != "",
        lambda v: f"{v}", lambda v: v.lower(), lambda v: v + "a", lambda v: "a" + v, lambda v: "a" in v,
        lambda v: v[:1], lambda v: v.encode("latin-1"), ",".join, lambda v: v < "a", lambda v: {v},
    ],
)  # fmt: skip
def test_a_value_that_is_not_kept_cannot_be_read_by_mistake(read):
    with pytest.raises((LookupError, TypeError)):
        read(FORGOTTEN)
    assert "forgotten" in repr(FORGOTTEN)


@pytest.mark.parametrize(
    "message",
    [body_message(b"\n\x0cx-request-id\x1a\x04id-2"), head(body_mode=NO_BODY), head(token=None)],
    ids=["a body", "a head whose body never comes", "a head that is refused"],
)
async def test_a_message_that_is_wrongly_known_is_denied(message):
    parts = await known()
    memory = parts.pipeline.heads
    (known_head,) = memory._heads._young.values()
    looked = fingerprint(message, None)
    memory._heads.put(looked.key, replace(known_head, spots=looked.spots))
    (denied,) = await drive(parts, message)
    assert denied.status == 500
    assert checks(parts) == {"same": 0, "different": 1}
    assert not memory.enabled
