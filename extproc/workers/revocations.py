"""Who was revoked, kept by the supervisor for workers that start later."""

import asyncio
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from extproc.admin.v1 import admin_pb2
from extproc.clock import Clock

_NANO = 1e-9
_MILLISECONDS = 1000


class Revocations:
    """The revocations that still refuse somebody.

    ``lock`` is held while workers are told of a new one, and while a new worker is told of all and let
    into service: so no worker serves without having heard of every one.
    """

    def __init__(self, *, clock: Clock) -> None:
        self.lock = asyncio.Lock()
        self._clock = clock
        self._kept: dict[bytes, tuple[Any, float]] = {}  # by whom they name: the request, and until when

    def keep(self, request: Any, refused_until: Timestamp) -> None:
        """Remember a revocation. Of those that name the same people, the one that ends last stays."""
        until = refused_until.seconds + refused_until.nanos * _NANO
        whom = admin_pb2.RevokeRequest()
        whom.CopyFrom(request)
        whom.ClearField("duration")
        key = whom.SerializeToString(deterministic=True)
        now = self._clock()
        self._kept = {key: kept for key, kept in self._kept.items() if kept[1] > now}
        if key not in self._kept or self._kept[key][1] < until:
            self._kept[key] = (whom, until)

    def living(self) -> list[Any]:
        """The requests to repeat, each for the time that is left of it."""
        now = self._clock()
        requests = []
        for whom, until in self._kept.values():
            if until > now:
                request = admin_pb2.RevokeRequest()
                request.CopyFrom(whom)
                request.duration.FromMilliseconds(max(1, round((until - now) * _MILLISECONDS)))
                requests.append(request)
        return requests
