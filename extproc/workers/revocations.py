"""The revocations that a supervisor repeats to workers that start later."""

import asyncio

from google.protobuf.timestamp_pb2 import Timestamp

from extproc.admin.v1 import admin_pb2
from extproc.clock import Clock

_NANO = 1e-9
_MILLISECONDS = 1000


class RevocationLog:
    """The revocations that are still in force.

    A worker that restarts has lost its deny list, and must not serve before it has all of it again. ``lock``
    is held while a revocation goes to the workers, and while a new worker gets all of them and is allowed
    to serve. Without it a worker could start between the two, and serve without the newest revocation.
    """

    def __init__(self, *, clock: Clock) -> None:
        self.lock = asyncio.Lock()
        self._clock = clock
        # The request and when it expires, by the request's conditions.
        self._kept: dict[bytes, tuple[admin_pb2.RevokeRequest, float]] = {}

    def add(self, request: admin_pb2.RevokeRequest, refused_until: Timestamp) -> None:
        """Keep a revocation. Of several with the same conditions the one that expires last is kept."""
        until = refused_until.seconds + refused_until.nanos * _NANO
        conditions = admin_pb2.RevokeRequest()
        conditions.CopyFrom(request)
        conditions.ClearField("duration")
        key = _key(conditions)
        now = self._clock()
        self._kept = {key: kept for key, kept in self._kept.items() if kept[1] > now}
        if key not in self._kept or self._kept[key][1] < until:
            self._kept[key] = (conditions, until)

    def remove(self, request: admin_pb2.LiftRevocationRequest) -> bool:
        """Keep the revocation with exactly these conditions no longer; return whether it was kept."""
        conditions = admin_pb2.RevokeRequest()
        for field, value in request.ListFields():
            setattr(conditions, field.name, value)
        return self._kept.pop(_key(conditions), None) is not None

    def in_force(self) -> list[admin_pb2.RevokeRequest]:
        """Return the requests to repeat, each with the duration that remains."""
        now = self._clock()
        requests = []
        for conditions, until in self._kept.values():
            if until > now:
                request = admin_pb2.RevokeRequest()
                request.CopyFrom(conditions)
                request.repeats = True
                request.duration.FromMilliseconds(max(1, round((until - now) * _MILLISECONDS)))
                requests.append(request)
        return requests


def _key(conditions: admin_pb2.RevokeRequest) -> bytes:
    key: bytes = conditions.SerializeToString(deterministic=True)
    return key
