"""The writer: whole records or none, a watermark, rotation."""

import os
import re
import resource
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.errors import PayloadTooLargeError, UnavailableError
from serving.journal.frames import Tail, read_batch
from serving.journal.reader import decode
from serving.journal.records import Begin, End, Record
from serving.journal.segments import OpenSegment, list_segments, remove_drafts
from serving.journal.writer import JournalWriter
from serving.sections import JournalSettings
from tests.disks import pretended_disk
from tests.journal import make_begin, make_end, make_feedback


def read_all(folder: Path) -> list[Record | None]:
    """Return every record of the folder; fail where a segment does not end with a whole one."""
    records: list[Record | None] = []
    for segment in list_segments(folder):
        batch = read_batch(segment.path, 0, 2**30)
        assert batch.tail is Tail.CLEAN
        records.extend(decode(frame.payload) for frame in batch.frames)
    return records


@contextmanager
def disk_of(num_bytes: int) -> Iterator[None]:
    """Let no file of this process grow above so many bytes: write(2) then writes less, or fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_what_is_appended_reads_back(tmp_path: Path) -> None:
    """Records come back equal and in order; folder and files are their owner's alone."""
    writer = JournalWriter(tmp_path / "journal", JournalSettings(), "w-1")
    begin = make_begin(subject="ada")
    records = [begin, make_end(begin, error="\u2028"), make_feedback(begin)]
    for record in records:
        writer.append(record)
    writer.close()
    assert read_all(tmp_path / "journal") == records
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o700
    (segment,) = list_segments(tmp_path / "journal")
    assert stat.S_IMODE(segment.path.stat().st_mode) == 0o600


def test_one_segment_is_locked_while_the_writer_lives(tmp_path: Path) -> None:
    """Rotated segments are closed, the newest one is not, before `close`."""
    writer = JournalWriter(tmp_path, JournalSettings(segment_bytes=4096), "w-1")
    for _ in range(40):
        writer.append(make_begin())
    segments = list_segments(tmp_path)
    assert [segment.number for segment in segments] == list(range(1, len(segments) + 1))
    assert [segment.is_closed() for segment in segments] == [True] * (len(segments) - 1) + [False]
    assert all(segment.path.stat().st_size <= 4096 for segment in segments)
    writer.close()
    assert segments[-1].is_closed()


def test_a_rotation_that_fails_is_not_tried_with_every_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old segment grows on meanwhile, and the log does not."""
    tried = []

    def fail(path: Path) -> OpenSegment:
        tried.append(path)
        raise OSError("no new files here")

    writer = JournalWriter(tmp_path, JournalSettings(segment_bytes=4096), "w-1")
    monkeypatch.setattr("serving.journal.writer.OpenSegment", fail)
    for _ in range(40):
        writer.append(make_begin())
    writer.close()
    assert len(tried) == 1
    assert len(read_all(tmp_path)) == 40


def test_a_segment_is_locked_before_it_is_named(tmp_path: Path) -> None:
    """What a worker leaves that died while it made one is no segment, and goes a minute later."""
    draft = tmp_path / ".w-1.000001.journal"
    draft.touch()
    assert list_segments(tmp_path) == []
    remove_drafts(tmp_path)
    assert draft.exists()
    os.utime(draft, (0, 0))
    remove_drafts(tmp_path)
    assert not draft.exists()


def test_a_full_journal_refuses_beginnings_only(tmp_path: Path) -> None:
    """Above the watermark begins and ratings get 503 with Retry-After; ends are still taken."""
    writer = JournalWriter(tmp_path, JournalSettings(max_bytes=2**20), "w-1")
    begin = make_begin("x" * 2**18)
    for _ in range(3):
        writer.append(begin)
    for record in (begin, make_feedback(begin, comment="x" * 2**18)):
        with pytest.raises(UnavailableError) as caught:
            writer.append(record)
        assert (caught.value.code, caught.value.status) == ("journal_full", 503)
        assert caught.value.retry_after
        assert not re.search(r"\d|worker", caught.value.message)
    end = make_end(begin, response=b"x" * 2**18)
    writer.append(end)
    writer.close()
    assert read_all(tmp_path) == [begin, begin, begin, end]


def test_what_others_wrote_counts_too(tmp_path: Path) -> None:
    """The watermark is the folder's: all workers share one disk."""
    (tmp_path / "w-2.000001.journal").write_bytes(b"x" * 2**20)
    writer = JournalWriter(tmp_path, JournalSettings(max_bytes=2**20), "w-1")
    with pytest.raises(UnavailableError):
        writer.append(make_begin())
    writer.close()


@pytest.mark.parametrize("num_bytes", [600, 610, 700])
def test_a_full_disk_leaves_no_half_record(tmp_path: Path, num_bytes: int) -> None:
    """A write that falls short is undone, the caller told; later records are whole again."""
    writer = JournalWriter(tmp_path, JournalSettings(reserve_bytes=0), "w-1")
    begins = [make_begin() for _ in range(8)]
    kept: list[Record | None] = []
    with disk_of(num_bytes):
        for begin in begins:
            try:
                writer.append(begin)
            except UnavailableError:
                continue
            kept.append(begin)
        assert 0 < len(kept) < len(begins)
        assert read_all(tmp_path) == kept
    after = make_begin()
    writer.append(after)
    writer.close()
    assert read_all(tmp_path) == [*kept, after]


def begin_until_refused(writer: JournalWriter) -> list[Begin]:
    """Begin requests until the disk takes no more; return those that it took."""
    begun: list[Begin] = []
    while True:
        begin = make_begin("x" * 1000)
        try:
            writer.append(begin)
        except UnavailableError:
            return begun
        begun.append(begin)


def test_what_was_begun_is_ended_on_a_full_disk(tmp_path: Path) -> None:
    """Space was set aside for that; nothing else gets it, and it is set aside again when it can be."""
    folder, settings = tmp_path / "journal", JournalSettings(reserve_bytes=2**16)
    with pretended_disk(folder, 2**17):
        writer = JournalWriter(folder, settings, "w-1")
        begun = begin_until_refused(writer)
        assert len(begun) > 20
        for begin in begun:
            writer.append(make_end(begin))
        for record in (make_begin(), make_feedback(begun[0])):
            with pytest.raises(UnavailableError) as caught:
                writer.append(record)
            assert caught.value.code == "journal_full"
    deadline = time.monotonic() + 60
    while True:  # the disk is looked at once a second
        try:
            writer.append(make_begin())
            break
        except UnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    writer.close()
    records = read_all(folder)
    assert records[: len(begun)] == begun
    assert records[len(begun) : -1] == [make_end(begin) for begin in begun]


def test_an_answer_too_long_is_cut_and_marked(tmp_path: Path) -> None:
    """The end of a request is kept, with as much of its answer as a record takes."""
    writer = JournalWriter(tmp_path, JournalSettings(max_record_bytes=2**16), "w-1")
    begin = make_begin()
    body = os.urandom(2**17)
    writer.append(make_end(begin, response=body))
    writer.close()
    (end,) = read_all(tmp_path)
    assert isinstance(end, End)
    assert end.is_truncated
    assert 2**16 - 1024 < len(end.response) < 2**16
    assert body.startswith(end.response)


def test_a_request_too_long_to_record_is_refused(tmp_path: Path) -> None:
    """What cannot be recorded whole is not served: 413."""
    writer = JournalWriter(tmp_path, JournalSettings(max_record_bytes=2**16), "w-1")
    with pytest.raises(PayloadTooLargeError):
        writer.append(make_begin("x" * 2**17))
    writer.close()
    assert read_all(tmp_path) == []


def test_a_lone_surrogate_loses_no_record(tmp_path: Path) -> None:
    """A text that is no Unicode is kept with a question mark where it is none."""
    writer = JournalWriter(tmp_path, JournalSettings(), "w-1")
    end = make_end(make_begin(), error="bad \ud800")
    writer.append(end)
    writer.close()
    (kept,) = read_all(tmp_path)
    assert isinstance(kept, End)
    assert kept.error == "bad ?"


def test_a_folder_that_is_deleted_takes_nothing_until_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No record goes into a file that nobody reads; no restart is needed. Paths are for the log."""
    folder = tmp_path / "journal"
    writer = JournalWriter(folder, JournalSettings(), "w-1")
    begin = make_begin()
    writer.append(begin)
    shutil.rmtree(folder)
    for record in (make_begin(), make_end(begin)):
        with pytest.raises(UnavailableError) as caught:
            writer.append(record)
        assert str(folder) not in caught.value.message
    assert f"The journal in {folder} takes nothing" in caplog.text
    folder.mkdir()
    last = make_begin()
    writer.append(last)
    writer.close()
    assert read_all(folder) == [last]


def test_an_end_long_after_its_beginning_goes_into_no_deleted_segment(tmp_path: Path) -> None:
    """It looks itself then: there may be no next beginning for hours."""
    writer = JournalWriter(tmp_path, JournalSettings(), "w-1")
    begin = make_begin()
    writer.append(begin)
    (segment,) = list_segments(tmp_path)
    segment.path.unlink()
    time.sleep(0.1)
    writer.append(make_end(begin))
    writer.close()
    assert read_all(tmp_path) == [make_end(begin)]
