"""The services and operations of the AWS CLI, from ``commands.txt`` (``make aws-commands``).

A line has a service and its operations. The list is as old as the release: newer operations are unknown.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType


@cache
def commands() -> Mapping[str, frozenset[str]]:
    """Return the operations by service. The first call reads the file, which takes some milliseconds."""
    lines = (files(__package__ or "") / "commands.txt").read_text(encoding="ascii").splitlines()
    names = (line.split() for line in lines if not line.startswith("#"))
    return MappingProxyType({service: frozenset(operations) for service, *operations in names})
