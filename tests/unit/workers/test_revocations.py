"""What a worker that starts later is told."""

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


def told(revocations):
    return {each.subject: each.duration.ToTimedelta().total_seconds() for each in revocations.in_force()}


async def test_each_is_told_for_the_time_that_is_left():
    clock = FakeClock()
    revocations = kept(clock, ("alice", clock.now + 600), ("bob", clock.now + 60))
    clock.now += 59.5
    assert told(revocations) == {"alice": 540.5, "bob": 0.5}
    assert revocations.in_force()[0].issuer == "https://idp.example"
    clock.now += 1
    assert told(revocations) == {"alice": 539.5}


async def test_of_the_same_people_the_longest_counts():
    clock = FakeClock()
    assert told(kept(clock, ("alice", clock.now + 600), ("alice", clock.now + 60))) == {"alice": 600}
    assert told(kept(clock, ("alice", clock.now + 60), ("alice", clock.now + 600))) == {"alice": 600}


async def test_those_that_are_over_are_forgotten():
    clock = FakeClock()
    revocations = kept(clock, *((f"user{n}", clock.now + 1) for n in range(100)))
    clock.now += 2
    revocations.add(request("alice"), Timestamp(seconds=int(clock.now + 60)))
    assert len(revocations._kept) == 1
