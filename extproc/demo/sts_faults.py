"""Faults of the STS emulator, each as a client would see it at AWS."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from extproc.demo.sts_wire import StsError

DEFAULT_SLOW_DELAY: Final = 5.0  # seconds
MAX_DELAY: Final = 120.0

_ERRORS: Final[Mapping[str, tuple[str, str, int]]] = {
    "throttle": ("Throttling", "Rate exceeded", 400),
    "fail": ("InternalFailure", "An internal error has occurred", 500),
    "access_denied": ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403),
    "expired": ("ExpiredTokenException", "Token expired: the current time is after its expiration", 400),
    "idp_unreachable": (
        "IDPCommunicationError",
        "An error occurred when calling the identity provider to verify the incoming identity token",
        400,
    ),
    "malformed_policy": ("MalformedPolicyDocument", "Syntax errors in policy.", 400),
    "region_disabled": ("RegionDisabledException", "STS is not activated in this region for account", 403),
}
_BODIES: Final[Mapping[str, tuple[bytes, int, str]]] = {
    "malformed": (b"<AssumeRoleWithWebIdentityResponse><Assume", 200, "text/xml"),
    "empty4xx": (b"", 400, "text/xml"),
    "html200": (b"<html><body>Welcome to the captive portal</body></html>", 200, "text/html"),
}
DRIP_INTERVAL: Final = 1.5  # seconds between two bytes: less than most read timeouts
_DRIPS: Final = 400
MODES: Final = frozenset({"slow", "drip", *_ERRORS, *_BODIES})


@dataclass(slots=True)
class Fault:
    """The present fault.

    Attributes:
        mode: one of ``MODES``, or None for no fault.
        delay: seconds to wait before answering, in any mode.
        count: number of further calls that are affected; None means all until cleared.
    """

    mode: str | None = None
    delay: float = 0.0
    count: int | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Fault":
        """Return the fault of a control request.

        Raises:
            ValueError: a field has a wrong type or value.
        """
        mode, count = document.get("mode"), document.get("count")
        delay = document.get("delay", DEFAULT_SLOW_DELAY if mode == "slow" else 0)
        if mode is not None and mode not in MODES:
            raise ValueError(f"mode must be null or one of {sorted(MODES)}")
        if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= MAX_DELAY:
            raise ValueError(f"delay must be 0 to {MAX_DELAY} seconds")
        if count is not None and (type(count) is not int or count < 1):
            raise ValueError("count must be null or a positive number")
        return cls(mode=mode, delay=float(delay), count=count)

    def take(self) -> tuple[str | None, float]:
        """Return the mode and delay for one call, and count it."""
        taken = (self.mode, self.delay)
        if self.count is not None:
            self.count -= 1
            if self.count == 0:
                self.mode, self.delay, self.count = None, 0.0, None
        return taken


async def act(mode: str | None, delay: float) -> Response | None:
    """Wait, then return the broken answer of ``mode``, or None if the call goes on.

    Raises:
        StsError: for the modes that are errors of the protocol.
    """
    if delay:
        await asyncio.sleep(delay)
    if mode is None:
        return None
    if mode in _ERRORS:
        code, message, status = _ERRORS[mode]
        raise StsError(code, message, status)
    if mode in _BODIES:
        content, status, media_type = _BODIES[mode]
        return Response(content, status_code=status, media_type=media_type)
    if mode == "drip":
        return StreamingResponse(_dripping(), media_type="text/xml")
    return None


async def _dripping() -> AsyncIterator[bytes]:
    for _ in range(_DRIPS):
        yield b" "
        await asyncio.sleep(DRIP_INTERVAL)
