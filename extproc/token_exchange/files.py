"""Files with a client's secret, key or assertion: read again when they change."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from extproc.file_stamp import FileStamp, file_stamp

MAX_BYTES = 64 * 1024

_Content = TypeVar("_Content")

_log = structlog.get_logger(__name__)


class ClientFileError(Exception):
    """A file cannot be used. The message has its path and never its content."""

    def __init__(self, path: Path, problem: str | None) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class WatchedFile(Generic[_Content]):
    """The parsed content of a file. For any thread: a race reads the file twice at most.

    If the file becomes unusable, the last good content stays in use: a secret that is being replaced must
    not interrupt the service.

    Args:
        parse: returns the content; raises ``ValueError`` with a message that quotes none of it.

    Raises:
        ClientFileError: the file cannot be used.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], _Content]) -> None:
        self._path = path
        self._parse = parse
        self._read: tuple[FileStamp, _Content] = file_stamp(path), self._load()

    def content(self) -> _Content:
        """Return the present content; reads the file only if it changed."""
        stamp, content = self._read
        now = file_stamp(self._path)
        if now != stamp:
            try:
                content = self._load()
                _log.info("client_file_reloaded", path=str(self._path))
            except ClientFileError as error:
                _log.error("client_file_not_reloaded", problem=str(error))
            self._read = now, content
        return content

    def _load(self) -> _Content:
        try:
            with self._path.open("rb") as file:
                body = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ClientFileError(self._path, error.strerror) from None
        if len(body) > MAX_BYTES:
            raise ClientFileError(self._path, f"larger than {MAX_BYTES} bytes")
        try:
            return self._parse(body)
        except ValueError as error:
            raise ClientFileError(self._path, str(error)) from None


def parse_secret(body: bytes) -> str:
    """Return a secret or a token: printable ASCII (RFC 6749 appendix A.2), without the line's end.

    Raises:
        ValueError: it is empty, or has other characters.
    """
    try:
        secret = body.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("not ASCII") from None
    if not secret:
        raise ValueError("empty")
    if not secret.isprintable() or secret != secret.strip():
        raise ValueError("one line without spaces around it is expected")
    return secret
