"""What extproc decided about the demo's calls and why, in words, from its audit log."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

import yaml

DIRECT: Final = "unsigned, to the upstream itself"
"""The call that does not go through the gateway."""
_WITHIN = 3.0  # seconds until a decision is in the log
_POLL = 0.02


class Decisions:
    """The decisions since the last time they were asked for.

    Args:
        directory: that of a stack, with ``extproc.yaml`` and ``audit.log``.
    """

    def __init__(self, directory: Path) -> None:
        settings = yaml.safe_load((directory / "extproc.yaml").read_text(encoding="utf-8"))
        self._conditions = {
            each["name"]: each.get("matcher") or f'"{each.get("claim")}" in claims.groups'
            for each in settings["role_mappings"]
        }
        self._log = directory / "audit.log"
        self._read = len(self._lines())

    async def latest(self, how: str, *, denied: bool) -> str:
        """Return the last decision of that kind; an empty string if there is none.

        Args:
            how: the way of the call, as the demo names it.
            denied: whether the call was refused; a client's other calls may follow it in the log.
        """
        kind = "deny" if denied else "allow"
        if how == DIRECT:
            return "was not asked"
        before = time.monotonic()
        while self._log.exists() and time.monotonic() - before < _WITHIN:
            events = [json.loads(line) for line in self._lines()[self._read :]]
            decided = [event for event in events if event["decision"] == kind]
            if decided:
                self._read += len(events)
                return self._in_words(decided[-1])
            await asyncio.sleep(_POLL)
        return ""

    def _lines(self) -> list[str]:
        if not self._log.exists():
            return []
        return [line for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def _in_words(self, event: dict[str, Any]) -> str:
        if event["decision"] == "deny":
            detail = f": {event['detail']}" if event["detail"] else ""
            return f"deny, {event['reason']}{detail}"
        name = event["mapping"]
        return f"allow, by mapping {name}: {self._conditions.get(name, 'the fallback role')}"
