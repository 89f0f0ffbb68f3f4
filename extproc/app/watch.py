"""Noticing that files have other contents, whichever way they got them.

Contents are compared, once a second: this sees files that are written in place, replaced by
a rename, and those of a Kubernetes ConfigMap, where a symbolic link to their directory is
swapped; and it sees them on every file system. The files are small.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

_Contents = dict[Path, bytes | None]


async def changes(files: Callable[[], Iterable[Path]], *, every: float = 1.0) -> AsyncIterator[None]:
    """Yield whenever a file has other contents than at the last time, or none.

    Only after two looks, ``every`` seconds apart, that saw the same: half a file that somebody is
    still writing may be valid, and lack the rules at its end. ``files`` is asked at every look.
    """
    known = before = await asyncio.to_thread(_contents, list(files()))
    while True:
        await asyncio.sleep(every)
        now = await asyncio.to_thread(_contents, list(files()))
        known = now | known  # a further file is no change
        if now == before and any(known[path] != digest for path, digest in now.items()):
            known = now
            yield
        before = now


def _contents(files: list[Path]) -> _Contents:
    return {path: _digest(path) for path in files}


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except (OSError, ValueError):  # ValueError: no file can have such a name
        return None
