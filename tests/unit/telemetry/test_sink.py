"""Audit lines reach the file that has the name now, and are never split."""

import os
import threading

import pytest

from extproc.telemetry import sink as sinks
from extproc.telemetry.sink import FileSink, StreamSink


def test_lines_are_appended_to_what_is_there(tmp_path):
    path = tmp_path / "audit.log"
    path.write_bytes(b"old\n")
    sink = FileSink(path)
    sink.write(b"new\n")
    sink.close()
    assert path.read_bytes() == b"old\nnew\n"


def test_a_new_file_is_not_readable_by_others(tmp_path):
    FileSink(tmp_path / "audit.log").close()
    assert (tmp_path / "audit.log").stat().st_mode & 0o137 == 0


@pytest.mark.parametrize("rotate", ["renamed", "removed", "replaced"])
def test_after_a_rotation_lines_go_to_the_new_file(tmp_path, rotate):
    path, old = tmp_path / "audit.log", tmp_path / "audit.log.1"
    sink = FileSink(path)
    sink.write(b"1\n")
    if rotate == "removed":
        path.unlink()
    else:
        path.rename(old)
    if rotate == "replaced":
        path.touch()
    sink.write(b"2\n")
    sink.close()
    assert path.read_bytes() == b"2\n"
    if rotate != "removed":
        assert old.read_bytes() == b"1\n"


def test_after_a_truncated_line_the_next_one_starts_on_its_own(tmp_path, monkeypatch):
    path = tmp_path / "audit.log"
    sink = FileSink(path)

    def disk_full(descriptor, data):
        os.write(descriptor, bytes(data)[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sinks, "write_all", disk_full)
        with pytest.raises(OSError, match="No space"):
            sink.write(b'{"a":1}\n')
    sink.write(b'{"b":2}\n')
    sink.close()
    assert path.read_bytes() == b'{"a\n{"b":2}\n'


def test_a_slow_reader_of_a_pipe_gets_everything_even_if_it_is_non_blocking():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = b"x" * 300_000 + b"\n"
    received = bytearray()

    def read():
        while not received.endswith(b"\n"):
            received.extend(os.read(reader, 65536))

    thread = threading.Thread(target=read)
    thread.start()
    StreamSink(writer).write(data)
    thread.join(30)
    os.close(reader)
    os.close(writer)
    assert bytes(received) == data


def test_writes_to_a_pipe_are_small_enough_to_be_atomic(monkeypatch):
    reader, writer = os.pipe()
    pieces = []
    monkeypatch.setattr(sinks, "write_all", lambda _descriptor, piece: pieces.append(piece))
    lines = [
        b"%d" % number * length + b"\n" for number, length in enumerate((10, 4000, 90, 5000, 4095, 1, 1))
    ]
    StreamSink(writer).write(b"".join(lines))
    os.close(reader)
    os.close(writer)
    assert b"".join(pieces) == b"".join(lines)
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert all(len(piece) <= 4096 or piece.count(b"\n") == 1 for piece in pieces)
    assert len(pieces) < len(lines)
