"""The revocations that are repeated to a worker that starts later."""

from google.protobuf.timestamp_pb2 import Timestamp

from extproc.admin.v1 import admin_pb2
from extproc.workers.revocations import RevocationLog
from support.credentials import FakeClock


def request(subject, seconds=600):
    message = admin_pb2.RevokeRequest(subject=subject, issuer="https://idp.example")
    message.duration.FromSeconds(seconds)
    return message


def kept(clock, *entries):
    revocations = RevocationLog(clock=clock)
    for subject, until in entries:
        revocations.add(request(subject), Timestamp(seconds=int(until)))
    return revocations


def remaining(revocations):
    return {each.subject: each.duration.ToTimedelta().total_seconds() for each in revocations.in_force()}


async def test_each_revocation_is_repeated_for_the_remaining_time():
    clock = FakeClock()
    revocations = kept(clock, ("alice", clock.now + 600), ("bob", clock.now + 60))
    clock.now += 59.5
    assert remaining(revocations) == {"alice": 540.5, "bob": 0.5}
    assert revocations.in_force()[0].issuer == "https://idp.example"
    clock.now += 1
    assert remaining(revocations) == {"alice": 539.5}


async def test_of_the_same_conditions_the_longest_revocation_is_kept():
    clock = FakeClock()
    assert remaining(kept(clock, ("alice", clock.now + 600), ("alice", clock.now + 60))) == {"alice": 600}
    assert remaining(kept(clock, ("alice", clock.now + 60), ("alice", clock.now + 600))) == {"alice": 600}


async def test_expired_revocations_are_removed():
    clock = FakeClock()
    revocations = kept(clock, *((f"user{n}", clock.now + 1) for n in range(100)))
    clock.now += 2
    revocations.add(request("alice"), Timestamp(seconds=int(clock.now + 60)))
    assert len(revocations._kept) == 1
