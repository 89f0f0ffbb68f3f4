"""Watching files by their contents."""

import asyncio
import contextlib

import pytest

from extproc.app import watch

SOON = 0.01


class Watched:
    """Counts changes while it runs."""

    def __init__(self, *files):
        self.files = list(files)
        self.changed = asyncio.Queue()

    async def run(self):
        async for _ in watch.changes(lambda: self.files, every=SOON):
            self.changed.put_nowait(None)

    async def next(self):
        await asyncio.wait_for(self.changed.get(), 30)

    async def looks(self, count=6):
        """Wait for some checks."""
        await asyncio.sleep(SOON * count)


@contextlib.asynccontextmanager
async def watching(*files):
    watched = Watched(*files)
    task = asyncio.create_task(watched.run())
    await watched.looks()
    try:
        yield watched
    finally:
        task.cancel()


def config_map(directory, version, text):
    """A ConfigMap volume as the kubelet writes it: file → ..data → a directory, replaced by a rename."""
    data = directory / f"..{version}"
    data.mkdir()
    (data / "extproc.yaml").write_text(text)
    link = directory / "..data_tmp"
    link.symlink_to(data.name)
    link.rename(directory / "..data")
    file = directory / "extproc.yaml"
    if not file.is_symlink():
        file.symlink_to("..data/extproc.yaml")
    return file


async def test_a_file_written_in_place_is_noticed(tmp_path):
    file = tmp_path / "a"
    file.write_text("one")
    async with watching(file) as watched:
        file.write_text("two")
        await watched.next()


async def test_the_swap_of_a_config_maps_directory_is_noticed(tmp_path):
    file = config_map(tmp_path, "one", "1")
    async with watching(file) as watched:
        config_map(tmp_path, "two", "2")
        await watched.next()
        config_map(tmp_path, "three", "3")
        await watched.next()


async def test_a_file_that_goes_and_comes_back_is_noticed(tmp_path):
    file = tmp_path / "a"
    file.write_text("one")
    async with watching(file) as watched:
        file.unlink()
        await watched.next()
        file.write_text("one")
        await watched.next()


async def test_writing_the_same_contents_again_is_not_a_change(tmp_path):
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("one")
    other.write_text("one")
    async with watching(file, other) as watched:
        file.write_text("one")
        await watched.looks()
        assert watched.changed.empty()
        other.write_text("two")
        await watched.next()
        assert watched.changed.empty()


async def test_another_file_is_not_a_change_until_it_changes(tmp_path):
    file, further = tmp_path / "a", tmp_path / "b"
    file.write_text("one")
    further.write_text("one")
    async with watching(file) as watched:
        watched.files.append(further)
        await watched.looks()
        assert watched.changed.empty()
        further.write_text("two")
        await watched.next()


async def test_a_file_still_being_written_is_waited_for(tmp_path, monkeypatch):
    looks = [{"a": b"old"}, {"a": b"half"}, {"a": b"more"}, {"a": b"whole"}, {"a": b"whole"}]
    seen = []

    def look(_files):
        seen.append(looks[min(len(seen), len(looks) - 1)])
        return seen[-1]

    monkeypatch.setattr(watch, "_contents", look)
    async for _ in watch.changes(list, every=0):
        break
    assert seen == looks


@pytest.mark.parametrize("name", ["missing", "nul\0nul"])
async def test_an_unreadable_file_does_not_end_the_watch(tmp_path, name):
    file = tmp_path / "a"
    file.write_text("one")
    async with watching(file, tmp_path / name) as watched:
        file.write_text("two")
        await watched.next()
