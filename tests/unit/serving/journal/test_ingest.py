"""Ingest on real PostgreSQL: what was appended is in the database once, whatever came between."""

import asyncio
import os
import shutil
from datetime import date
from pathlib import Path

import msgspec

from serving.errors import UnavailableError
from serving.ids import Signer
from serving.journal.frames import pack
from serving.journal.ingest import ingest
from serving.journal.records import MAGIC
from serving.journal.segments import hold, list_segments
from serving.journal.writer import JournalWriter
from serving.sections import JournalSettings
from serving.store.database import Database
from serving.types import InferenceStatus, Rating
from tests.journal import (
    make_begin,
    make_end,
    make_feedback,
    read_feedback,
    read_inferences,
    read_segments,
    write_segment,
)

SMALL = JournalSettings(segment_bytes=4096)


def names_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def test_a_full_journal_takes_records_again_once_it_is_read(
    database: Database, folder: Path
) -> None:
    """Full of a segment that is still open, it lets go of it: ingest removes what it has read."""
    writer = JournalWriter(folder, JournalSettings(max_bytes=2**20), "w-1")
    begins = [make_begin("x" * 2**18) for _ in range(4)]
    for begin in begins[:3]:
        writer.append(begin)
    async with asyncio.timeout(60):
        while True:
            try:
                writer.append(begins[3])
                break
            except UnavailableError:
                await ingest(database, folder)
                await asyncio.sleep(0.1)  # the folder is counted once a second
    writer.close()
    await ingest(database, folder)
    assert set(await read_inferences(database)) == {begin.id for begin in begins}


async def test_a_request_becomes_a_row(database: Database, folder: Path) -> None:
    """Begin and end of a request are one row, with bodies, tokens and times."""
    writer = JournalWriter(folder, SMALL, "w-1")
    begin = make_begin("hello", subject="ada\0", request=b'{"input": "nul \\u0000"}')
    writer.append(begin)
    writer.append(make_end(begin))
    report = await ingest(database, folder)
    writer.close()
    assert (report.num_records, report.num_inferences, report.num_lag_bytes) == (2, 1, 0)
    row = (await read_inferences(database))[begin.id]
    assert row.status is InferenceStatus.OK
    assert row.request == {"input": "nul \0"}
    assert row.subject == "ada"
    assert (row.prompt_tokens, row.completion_tokens) == (3, 5)
    assert (row.worker_id, row.end_to_end_ms, row.http_status) == ("w-1", 12.5, 200)


async def test_a_request_is_running_until_its_end_comes(database: Database, folder: Path) -> None:
    """Begin and end may lie passes and segments apart."""
    writer = JournalWriter(folder, SMALL, "w-1")
    begin = make_begin()
    writer.append(begin)
    await ingest(database, folder)
    assert (await read_inferences(database))[begin.id].status is InferenceStatus.RUNNING
    for _ in range(20):
        writer.append(make_begin())
    writer.append(make_end(begin, response=b'{"late": true}'))
    await ingest(database, folder)
    writer.close()
    row = (await read_inferences(database))[begin.id]
    assert (row.status, row.response) == (InferenceStatus.OK, {"late": True})


async def test_read_segments_of_a_live_worker_are_removed(database: Database, folder: Path) -> None:
    """Only the segment that is still written to stays, and its running requests stay running."""
    writer = JournalWriter(folder, SMALL, "w-1")
    begins = [make_begin() for _ in range(50)]
    for begin in begins:
        writer.append(begin)
    assert len(list_segments(folder)) > 2
    report = await ingest(database, folder)
    assert len(list_segments(folder)) == 1
    assert report.num_interrupted == 0
    assert len(await read_inferences(database)) == 50
    writer.close()


async def test_a_worker_that_is_gone_leaves_interrupted_requests(
    database: Database, folder: Path
) -> None:
    """Begun, never ended, worker gone: `interrupted`; the folder is empty, the segments finished."""
    writer = JournalWriter(folder, SMALL, "w-1")
    done, cut = make_begin(), make_begin()
    for record in (done, cut, make_end(done)):
        writer.append(record)
    writer.close()
    report = await ingest(database, folder)
    rows = await read_inferences(database)
    assert rows[cut.id].status is InferenceStatus.INTERRUPTED
    assert rows[done.id].status is InferenceStatus.OK
    assert report.num_interrupted == 1
    assert list_segments(folder) == []
    assert (await read_segments(database))["w-1.000001.journal"].finished_at is not None


async def test_a_copied_segment_changes_nothing(database: Database, folder: Path) -> None:
    """Replaying everything under another name leaves rows, states and ratings as they were."""
    writer = JournalWriter(folder, SMALL, "w-1")
    done, running = make_begin(), make_begin()
    for record in (done, running, make_end(done), make_feedback(done)):
        writer.append(record)
    shutil.copy(folder / "w-1.000001.journal", folder.parent / "copy")
    await ingest(database, folder)
    shutil.move(folder.parent / "copy", folder / "copy.000001.journal")
    report = await ingest(database, folder)
    writer.close()
    assert (report.num_records, report.num_inferences, report.num_unmatched) == (4, 0, 1)
    rows = await read_inferences(database)
    assert rows[done.id].status is InferenceStatus.OK
    assert rows[running.id].status is InferenceStatus.RUNNING
    assert len(await read_feedback(database)) == 1


async def test_an_end_that_comes_late_wins_over_interrupted(
    database: Database, folder: Path
) -> None:
    """A copy of half a journal may be read first; the whole of it sets things right."""
    begin = make_begin()
    write_segment(folder, "copy.000001.journal", msgspec.msgpack.encode(begin))
    await ingest(database, folder)
    end = msgspec.msgpack.encode(make_end(begin))
    write_segment(folder, "w-1.000001.journal", msgspec.msgpack.encode(begin), end)
    await ingest(database, folder)
    assert (await read_inferences(database))[begin.id].status is InferenceStatus.OK


async def test_ratings_keep_their_history(database: Database, folder: Path) -> None:
    """A retry of a rating is one row; a later rating of the same rater is another."""
    begin = make_begin()
    writer = JournalWriter(folder, SMALL, "w-1")
    first = make_feedback(begin, comment="nul\0")
    second = make_feedback(begin, rating=Rating.DOWN, given_at_ms=first.given_at_ms + 1)
    for record in (first, first, second):
        writer.append(record)
    report = await ingest(database, folder)
    writer.close()
    assert report.num_feedback == 2
    found = await read_feedback(database)
    assert [row.rating for row in found] == [Rating.UP, Rating.DOWN]
    assert (found[0].comment, found[0].given_at.microsecond) == ("nul", 123_000)


async def test_a_torn_tail_is_counted(database: Database, folder: Path) -> None:
    """What a worker was writing when it died was promised to nobody; all before it is kept."""
    begin = make_begin()
    path = write_segment(
        folder, "w-1.000001.journal", msgspec.msgpack.encode(begin), tail=b"\x99" * 5
    )
    os.utime(path, (0, 0))
    report = await ingest(database, folder)
    assert report.num_torn_bytes == 5
    assert begin.id in await read_inferences(database)
    assert not path.exists()


async def test_a_copy_that_is_on_its_way_loses_nothing(database: Database, folder: Path) -> None:
    """Wherever ingest meets it, even with no byte there yet: what comes later is read later."""
    begins = [make_begin(), make_begin()]
    payloads = [msgspec.msgpack.encode(begin) for begin in begins]
    path = write_segment(folder, "w-1.000001.journal", *payloads)
    whole = path.read_bytes()
    for num_bytes in (0, 5, len(MAGIC) + 3, len(MAGIC) + len(pack(payloads[0])) + 20):
        path.write_bytes(whole[:num_bytes])
        report = await ingest(database, folder)
        assert (report.num_torn_bytes, report.num_interrupted) == (0, 0)
    path.write_bytes(whole)
    await ingest(database, folder)
    assert set(await read_inferences(database)) == {begin.id for begin in begins}
    assert not path.exists()


async def test_damage_in_the_middle_sets_the_segment_aside(
    database: Database, folder: Path
) -> None:
    """Records before the damage are stored, the file is kept, other segments are not held up."""
    first, second, third = make_begin(), make_begin(), make_begin()
    payloads = [msgspec.msgpack.encode(begin) for begin in (first, second)]
    path = write_segment(folder, "w-1.000001.journal", *payloads)
    content = bytearray(path.read_bytes())
    content[len(MAGIC) + len(pack(payloads[0])) + 20] ^= 1
    path.write_bytes(content + pack(payloads[1]))
    write_segment(folder, "w-2.000001.journal", msgspec.msgpack.encode(third))
    report = await ingest(database, folder)
    assert (report.num_damaged, report.num_torn_bytes) == (1, 0)
    assert set(await read_inferences(database)) == {first.id, third.id}
    assert names_in(folder) == ["w-1.000001.journal.damaged"]


async def test_the_second_ingest_does_nothing(database: Database, folder: Path) -> None:
    """Whoever comes while a folder is ingested leaves it alone; afterwards it is free."""
    begin = make_begin()
    write_segment(folder, "w-1.000001.journal", msgspec.msgpack.encode(begin))
    with hold(folder) as is_held:
        assert is_held
        assert not (await ingest(database, folder)).has_run
    reports = await asyncio.gather(ingest(database, folder), ingest(database, folder))
    assert sorted(report.num_inferences for report in reports) == [0, 1]


async def test_no_folder_is_no_work(database: Database, tmp_path: Path) -> None:
    """Before the first gateway worker has started there is nothing to do."""
    assert not (await ingest(database, tmp_path / "none")).has_run


async def test_days_get_their_partitions(database: Database, folder: Path) -> None:
    """An inference goes to the partition of the UTC day that its id tells."""
    begins = [
        make_begin(id=Signer({1: b"k"}).mint_at(milliseconds, "default"))
        for milliseconds in (1_790_000_000_000, 1_790_090_000_000)
    ]
    write_segment(folder, "w.000001.journal", *(msgspec.msgpack.encode(b) for b in begins))
    await ingest(database, folder)
    days = {row.begun_at.date() for row in (await read_inferences(database)).values()}
    assert days == {date(2026, 9, 21), date(2026, 9, 22)}
