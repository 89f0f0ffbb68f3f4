"""Whether a file has changed, without reading it."""

from pathlib import Path

FileStamp = tuple[int, ...] | None


def file_stamp(path: Path) -> FileStamp:
    """Return what differs when another file is there, or the file was written; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
