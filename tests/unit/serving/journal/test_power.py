"""What `journal.durability = "power"` adds to the writer: syncs, shared and never forgiven."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from serving.errors import UnavailableError
from serving.journal.segments import list_segments
from serving.journal.writer import JournalWriter
from serving.sections import JournalSettings
from tests.journal import make_begin, make_end


async def test_power_shares_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many that wait for the disk at once need one or two syncs; `process` needs none."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    for durability, num_most in (("process", 0), ("power", 2)):
        settings = JournalSettings(durability=durability)
        writer = JournalWriter(tmp_path / durability, settings, "w-1")
        for _ in range(20):
            writer.append(make_begin())
        await asyncio.gather(*(writer.flush() for _ in range(20)))
        writer.close()
        assert len(synced) <= num_most
    assert synced


async def test_a_failed_sync_is_never_forgiven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one failed sync the kernel may have dropped the pages: nothing more is acknowledged."""
    writer = JournalWriter(tmp_path, JournalSettings(durability="power"), "w-1")

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fail)
        writer.append(make_begin())
        with pytest.raises(UnavailableError):
            await writer.flush()
    with pytest.raises(UnavailableError):
        await writer.flush()
    writer.close()


async def test_a_failed_sync_leaks_no_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after it, ends of requests under way, fills segments that are let go of again."""
    settings = JournalSettings(durability="power", segment_bytes=4096, max_bytes=2**20)
    writer = JournalWriter(tmp_path, settings, "w-1")

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    writer.append(make_begin())
    with pytest.raises(UnavailableError):
        await writer.flush()
    for _ in range(40):
        writer.append(make_end(make_begin()))
    writer.close()
    segments = list_segments(tmp_path)
    assert len(segments) > 2
    assert all(segment.is_closed() for segment in segments)


async def test_a_rotation_waits_for_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `power` the loop goes on while the former segment is synced; flushing waits for both."""
    settings = JournalSettings(durability="power", segment_bytes=4096, max_bytes=2**20)
    writer = JournalWriter(tmp_path, settings, "w-1")
    may_sync, synced = threading.Event(), []

    def sync_slowly(descriptor: int) -> None:
        assert may_sync.wait(60)
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fdatasync", sync_slowly)
    while len(list_segments(tmp_path)) < 3:
        writer.append(make_begin())
    inodes = [segment.path.stat().st_ino for segment in list_segments(tmp_path)]
    assert synced == []
    may_sync.set()
    await writer.flush()
    assert synced == inodes
    writer.close()
