"""Watches files for changed contents.

Contents are compared once a second. This finds files that are written in place, files that are replaced
by a rename, and files of a Kubernetes ConfigMap, where a symbolic link to their directory is swapped. It
works on every file system, and the files are small.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

_Contents = dict[Path, bytes | None]


async def changes(files: Callable[[], Iterable[Path]], *, every: float = 1.0) -> AsyncIterator[None]:
    """Yield whenever a file's contents have changed, or the file has gone.

    It yields only when two checks, ``every`` seconds apart, found the same contents: a file that is only
    half written may be valid, and lack the rules at its end. ``files`` is called for every check.
    """
    known = before = await asyncio.to_thread(_contents, list(files()))
    while True:
        await asyncio.sleep(every)
        now = await asyncio.to_thread(_contents, list(files()))
        known = now | known  # another file in the list is not a change
        if now == before and any(known[path] != digest for path, digest in now.items()):
            known = now
            yield
        before = now


def _contents(files: list[Path]) -> _Contents:
    return {path: _digest(path) for path in files}


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except (OSError, ValueError):  # ValueError: the name is not a valid one
        return None
