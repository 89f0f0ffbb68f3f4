"""Builds the client of STS. A module of its own: commands without STS need not wait for botocore."""

from collections.abc import Callable

from extproc.clock import Clock
from extproc.config import Settings
from extproc.sts.client import StsClient


def build_sts(settings: Settings, *, clock: Clock, on_date: Callable[[str | None], None]) -> StsClient:
    """Return the client of STS. ``clock`` is STS's; ``on_date`` gets the ``Date`` of each answer."""
    return StsClient(
        region=settings.sts_region,
        endpoint_url=settings.sts.endpoint_url,
        timeout=settings.sts.timeout,
        connections=settings.sts.workers,
        on_date=on_date,
        clock=clock,
    )
