"""The decisions that the console has seen, in memory, to be filtered and paged.

SQLite does the work: a filter over a hundred thousand decisions takes milliseconds, without Python's lock.
Refusals are few and interesting, so they have room of their own and outlive the many that were allowed.
"""

import contextlib
import hashlib
import json
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

MAX_ALLOWED, MAX_OTHERS = 60_000, 40_000
"""Decisions that are kept: allowed ones, and all others."""

PAGE = 50
"""Decisions of a page."""

_ID_BYTES = 8
_COLUMNS = ("time", "decision", "reason", "issuer", "subject", "role_arn", "tool", "target", "mapping")
_SCHEMA = f"""
CREATE TABLE decisions (seq INTEGER PRIMARY KEY, allowed INTEGER, id TEXT UNIQUE, at REAL, line TEXT,
  {", ".join(f"{name} TEXT" for name in _COLUMNS)});
CREATE INDEX by_outcome ON decisions (allowed, seq);
"""


_INSERT = (
    f"INSERT OR IGNORE INTO decisions (allowed, id, at, line, {', '.join(_COLUMNS)})"  # noqa: S608 - columns, and no value
    f" VALUES ({', '.join('?' * (4 + len(_COLUMNS)))})"
)
_FORGET = (
    "DELETE FROM decisions WHERE seq IN (SELECT seq FROM decisions WHERE allowed = ? ORDER BY seq LIMIT ?)"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """What to show; an empty condition holds for all.

    Attributes:
        user: part of the subject.
        role: part of the role's ARN.
        tool: part of the MCP tool's name.
        outcome: allow, deny, reply or abandoned.
        reason: the reason of denial.
        since: seconds since the epoch.
        until: seconds since the epoch.
    """

    user: str = ""
    role: str = ""
    tool: str = ""
    target: str = ""
    mapping: str = ""
    outcome: str = ""
    reason: str = ""
    since: float | None = None
    until: float | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether all decisions meet it."""
        return not any(getattr(self, each.name) for each in fields(self))

    def where(self) -> tuple[str, list[object]]:
        """Return an SQL condition and its parameters."""
        conditions: list[str] = ["1"]
        parameters: list[object] = []
        for name, column in (("user", "subject"), ("role", "role_arn"), ("tool", "tool")):
            if value := getattr(self, name):
                conditions.append(f"instr(lower({column}), lower(?))")  # SQLite's lower is for ASCII only
                parameters.append(value)
        for name, column in (
            ("target", "target"),
            ("mapping", "mapping"),
            ("outcome", "decision"),
            ("reason", "reason"),
        ):
            if value := getattr(self, name):
                conditions.append(f"{column} = ?")
                parameters.append(value)
        if self.outcome:  # for the index
            conditions.append("allowed = ?")
            parameters.append(self.outcome == "allow")
        for operator, bound in ((">=", self.since), ("<", self.until)):
            if bound is not None:
                conditions.append(f"at {operator} ?")
                parameters.append(bound)
        return " AND ".join(conditions), parameters


class History:
    """The decisions, in the order in which they came. For any thread."""

    def __init__(self, *, max_allowed: int = MAX_ALLOWED, max_others: int = MAX_OTHERS) -> None:
        self._limits = {True: max_allowed, False: max_others}
        self._kept = {True: 0, False: 0}
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._database.executescript(_SCHEMA)
        # Python 3.13 warns of connections that are not closed; this one is nobody else's.
        weakref.finalize(self, self._database.close)

    def add(self, lines: Iterable[str]) -> int:
        """Add events of the audit log; return how many are new. One that is there already is ignored."""
        rows = [row for line in lines if (row := _row(line)) is not None]
        added = 0
        with self._locked() as database:
            database.execute("BEGIN")
            for row in rows:  # in their order, which is that of the pages
                new = database.execute(_INSERT, row).rowcount
                self._kept[bool(row[0])] += new
                added += new
            for allowed, limit in self._limits.items():
                excess = self._kept[allowed] - limit
                if excess > 0:
                    database.execute(_FORGET, (allowed, excess))
                    self._kept[allowed] = limit
            database.execute("COMMIT")
        return added

    def latest(self) -> int:
        """Return the number of the last decision; 0 without any."""
        with self._locked() as database:
            return int(database.execute("SELECT coalesce(max(seq), 0) FROM decisions").fetchone()[0])

    def begins(self) -> float | None:
        """Return the time of the oldest decision, in seconds since the epoch; None without any."""
        with self._locked() as database:
            row = database.execute("SELECT at FROM decisions ORDER BY seq LIMIT 1").fetchone()
        return None if row is None else float(row[0])

    def page(self, wanted: Filter, *, before: int | None = None, size: int = PAGE) -> list[dict[str, Any]]:
        """Return the newest decisions that meet the filter, before a number; ``seq`` and ``id`` are added."""
        condition, parameters = wanted.where()
        if before is not None:
            condition, parameters = f"seq < ? AND {condition}", [before, *parameters]
        return self._select(f"{condition} ORDER BY seq DESC LIMIT ?", [*parameters, size])

    def after(self, wanted: Filter, number: int, *, size: int) -> list[dict[str, Any]]:
        """Return the newest decisions after a number, the newest first."""
        condition, parameters = wanted.where()
        return self._select(f"seq > ? AND {condition} ORDER BY seq DESC LIMIT ?", [number, *parameters, size])

    def find(self, decision_id: str) -> dict[str, Any] | None:
        """Return the decision with an id."""
        return next(iter(self._select("id = ?", [decision_id])), None)

    def counts(self, column: str, wanted: Filter, *, size: int = 100) -> list[tuple[str, int]]:
        """Return the values of a column and how often each is, the most frequent first."""
        if column not in _COLUMNS:
            raise ValueError(column)
        condition, parameters = wanted.where()
        query = (
            f"SELECT coalesce({column}, ''), count(*) FROM decisions WHERE {condition}"  # noqa: S608 - a known column
            f" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {size:d}"
        )
        with self._locked() as database:
            return [(str(value), int(count)) for value, count in database.execute(query, parameters)]

    def _select(self, rest: str, parameters: list[object]) -> list[dict[str, Any]]:
        with self._locked() as database:
            rows = database.execute(f"SELECT seq, id, at, line FROM decisions WHERE {rest}", parameters)  # noqa: S608
            found = rows.fetchall()
        return [{**_event(line), "seq": seq, "id": which, "at": at} for seq, which, at, line in found]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            yield self._database


def _event(line: str) -> dict[str, Any]:
    """Return an event as it can be shown: every string is Unicode."""
    event = json.loads(line)
    agents = [_storable(agent) or "" for agent in event.get("agent") or ()]
    return {
        **{name: _storable(value) if isinstance(value, str) else value for name, value in event.items()},
        "agent": agents,
    }


def _row(line: str) -> tuple[object, ...] | None:
    """Return the columns of an event; None for a line that is no decision."""
    try:
        event: Mapping[str, Any] = json.loads(line)
        at = datetime.fromisoformat(event["time"]).timestamp()
        event["decision"]
    except (ValueError, KeyError, TypeError):
        return None
    values = {**event, "tool": event.get("mcp_tool")}
    columns = (values.get(name) for name in _COLUMNS)
    digest = hashlib.blake2b(line.encode(errors="replace"), digest_size=_ID_BYTES).hexdigest()
    return event["decision"] == "allow", digest, at, line, *(_storable(value) for value in columns)


def _storable(value: object) -> str | None:
    # A lone surrogate is valid in JSON, and not in UTF-8.
    return value.encode(errors="replace").decode() if isinstance(value, str) else None
