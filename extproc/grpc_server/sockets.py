"""Unix sockets: their permissions, and a refusal to replace one that is in use."""

import contextlib
import fcntl
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

_MODE_WHILE_BINDING = 0o177  # leaves reading and writing to the owner


@dataclass(frozen=True, slots=True)
class SocketRights:
    """Permissions of socket files.

    Attributes:
        mode: the permission bits.
        owner: user, user:group or :group; None for that of the process.
    """

    mode: int = 0o660
    owner: str | None = None


def bind_socket(path: Path, rights: SocketRights, bind: Callable[[], int]) -> int:
    """Create the socket at ``path`` with ``bind``. At first only its owner may connect.

    The permissions are set after that. A file that a dead process left is replaced.

    Raises:
        OSError: the path is in use, is no socket, or its directory or owner is not there.
    """
    user, group = _ids(rights.owner)
    with _alone_in(path.parent):
        _refuse_what_lives(path)
        before = os.umask(_MODE_WHILE_BINDING)
        try:
            port = bind()
        finally:
            os.umask(before)
        try:
            os.chown(path, user, group, follow_symlinks=False)
        except OSError as error:
            raise OSError(f"socket_owner {rights.owner}: {error.strerror}") from None
        path.chmod(rights.mode)
    return port


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Hold a lock, so that of two servers starting at once the second sees the first one's socket."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(f"directory {directory}: {error.strerror}") from None
    try:
        status = os.fstat(handle)
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            # Common for a volume that only the containers of one pod share, so no more than a warning.
            _log.warning("socket_directory_open_to_all", directory=str(directory))
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _refuse_what_lives(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError("a file is there that is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)  # a full backlog means that a process listens
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # left behind: gRPC removes it when it binds
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                raise OSError(f"a socket is there: {error.strerror}") from None
    raise OSError("another process listens there")


def _ids(owner: str | None) -> tuple[int, int]:
    """Return user and group number, -1 for unchanged."""
    user, _, group = (owner or "").partition(":")
    try:
        return (
            (int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid) if user else -1,
            (int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid) if group else -1,
        )
    except KeyError:
        raise OSError(f"socket_owner {owner}: no such user or group") from None
