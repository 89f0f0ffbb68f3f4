"""Prints the admin API's answers as tables for people."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from extproc.spelling import counted

_WIDE = 400  # columns
_ROOM_FOR_SESSIONS = 180  # columns: what all nine of a session need


def _text(value: object) -> Text:
    """Return a value without markup or control characters: users choose much of it."""
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value)))


def _time(value: str) -> str:
    """Return an RFC 3339 time, truncated to seconds."""
    return value[:19].replace("T", " ")


def _console() -> Console:
    """Return a console as wide as the terminal. For a file or a pipe, every row is one line."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def show_status(workers: list[dict[str, Any]]) -> None:
    """Print one block for each process, with its key sets."""
    console = _console()
    for worker in workers:
        facts = {
            "pid": worker["pid"],
            "version": worker["version"],
            "up for": worker.get("uptime", ""),
            "configuration": worker.get("configuration", {}).get("digest", "")[:12],
            "loaded at": _time(worker.get("configuration", {}).get("loaded_at", "")),
            "sessions": worker["sessions"],
            "credentials": worker["credentials"],
            "revocations": worker["revocations"],
            "exchanges waiting": worker["exchanges_waiting"],
            "breaker": worker["breaker"].removeprefix("BREAKER_STATE_").lower(),
            "clock offset": worker.get("clock_offset", ""),
        }
        state = "ready" if worker["ready"] else "not ready"
        console.print(f"worker {worker['worker']}: {state}", style="green" if worker["ready"] else "red")
        table = Table(show_header=False, box=None)
        for name, value in facts.items():
            table.add_row(name, _text(value))
        for reason in worker["reasons"]:
            table.add_row("reason", _text(reason))
        for what in worker["degraded"]:
            table.add_row("degraded", _text(what))
        for key_set in worker["key_sets"]:
            table.add_row("keys of", _text(_keys(key_set)))
        console.print(table)


def _keys(key_set: dict[str, Any]) -> str:
    fetched = f"{key_set['keys']}, fetched {_time(key_set['fetched_at'])}" if key_set["usable"] else "none"
    failure = f"; last fetch failed: {key_set['failure']}" if key_set["failure"] else ""
    return f"{key_set['issuer']}: {fetched}{failure}"


def show_sessions(sessions: list[dict[str, Any]], *, more: bool) -> None:
    """Print one row for each of a session's credentials; on a narrow terminal one of two lines."""
    console = _console()
    (_sessions_narrow if console.width < _ROOM_FOR_SESSIONS else _sessions_wide)(console, sessions)
    console.print(f"{counted(len(sessions), 'session')}{', and there are more' if more else ''}")


def _sessions_wide(console: Console, sessions: list[dict[str, Any]]) -> None:
    table = Table()
    for column in (
        "id",
        "subject",
        "issuer",
        "jti",
        "role",
        "session name",
        "access key id",
        "until",
        "used",
    ):
        table.add_column(column, overflow="fold")
    for session in sessions:
        whose = [session["id"], session["subject"], session["issuer"], session["jti"]]
        for what in _all_held(session):
            table.add_row(*map(_text, whose + what))
    console.print(table)


def _sessions_narrow(console: Console, sessions: list[dict[str, Any]]) -> None:
    table = Table(
        show_lines=True, caption="--json prints issuer, jti and access key id too", caption_justify="left"
    )
    for column in ("id\nsubject", "role\nsession name"):
        table.add_column(column, overflow="fold")
    table.add_column("until\nused", no_wrap=True)
    for session in sessions:
        for role, name, _, until, used in _all_held(session):
            cells = ((session["id"], session["subject"]), (role, name), (until, used))
            table.add_row(*(Text("\n").join(map(_text, cell)) for cell in cells))
    console.print(table)


def _all_held(session: dict[str, Any]) -> list[list[str]]:
    """Return what is shown of each of a session's credentials, or of its token if it has none."""
    held = [_held(credentials) for credentials in session["credentials"]]
    return held or [["", "", "", _time(session["token_expires_at"]), ""]]


def _held(credentials: dict[str, Any]) -> list[str]:
    role = credentials["chained_role_arn"] or credentials["role_arn"]
    times = [_time(credentials[name]) for name in ("expires_at", "last_used_at")]
    return [
        role.removeprefix("arn:aws:iam::"),
        credentials["session_name"],
        credentials["access_key_id"],
        *times,
    ]


def show_revoked(answer: dict[str, Any]) -> None:
    """Print what was dropped, until when tokens are refused, and how to end credentials at AWS."""
    console = _console()
    sessions = counted(int(answer["sessions"]), "session")
    console.print(f"dropped: {sessions}, {counted(int(answer['credentials']), 'credential')}")
    console.print(f"refused until: {answer.get('refused_until', 'nobody is refused')}")
    show_shared(answer)
    if not answer["sessions"] and not answer["credentials"]:
        return
    console.print(
        "AWS still accepts the credentials that it has issued. To end those too, attach this inline policy "
        "to their role. It ends the sessions of all users of that role; their next requests get new ones:"
    )
    console.print(answer["role_policy"], markup=False, highlight=False, soft_wrap=True)


def show_shared(answer: dict[str, Any]) -> None:
    """Print how many replicas confirmed, if there is a shared store that answers."""
    shared = answer.get("shared")
    if shared is not None and not shared["problem"]:
        _console().print(f"confirmed by {shared['confirmed']} of {shared['replicas']} replicas")


def show_revocations(revocations: list[dict[str, Any]]) -> None:
    """Print one row for each entry of the deny list."""
    console = _console()
    table = Table()
    for column in ("issuer", "subject", "jti", "refused until"):
        table.add_column(column, overflow="fold")
    for each in revocations:
        conditions = [each.get(name) or "" for name in ("issuer", "subject", "jti")]
        table.add_row(*map(_text, [*conditions, _time(each["refused_until"])]))
    console.print(table)


def show_shadow(answer: dict[str, Any]) -> None:
    """Print the shadow decisions: the candidate, the counts, and a line for each difference."""
    console = _console()
    for problem in answer["problems"]:
        console.print(_text(problem), style="red")
    if not answer["path"]:
        console.print("no candidate (shadow is not set)")
        return
    if answer.get("loaded_at"):
        console.print(_text(f"{answer['path']}, loaded at {_time(answer['loaded_at'])}"))
    counts = {name: int(count) for name, count in answer["decisions"].items()}
    told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none yet"
    console.print(_text(f"new decisions: {told}"))
    for difference in answer["differences"]:
        more = " (counts as widened)" if difference["gives_more"] and difference["kind"] == "changed" else ""
        what = f" ({', '.join(difference['what'])})" if difference["what"] else ""
        before, after = _outcome(difference["before"]), _outcome(difference["after"])
        console.print(
            _text(f"{difference['kind']}{more}: {difference['count']} times {before}, now {after}{what}")
        )


def _outcome(outcome: dict[str, Any]) -> str:
    by = f" by mapping {outcome['mapping']}" if outcome["mapping"] else ""
    return f"denied ({outcome['denied']}){by}" if outcome["denied"] else f"{outcome['role']}{by}"
