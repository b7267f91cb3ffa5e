"""From journal to rows, exactly once: rows and the offset they came from share a transaction.

One pass over a folder, which one process at a time may make:

1. Look which segments are closed: what they hold now is all they ever will. One that ends within
   a record may be a copy on its way, for a minute.
2. Read each segment from its offset in `strop_segment`, batch by batch: records to rows, days to
   partitions, rows and offset into the database.
3. A worker none of whose segments is open is gone: what it left running is `interrupted`.
4. Remove what is closed and read; move a damaged segment aside.

A kill between any two steps repeats work, and repeating changes nothing: rows are known by id.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import ConflictError
from serving.journal.frames import Tail
from serving.journal.isolate import inferences_of, write_or_isolate
from serving.journal.reader import (
    Reading,
    age_of_oldest,
    begun_in,
    days_of,
    keep_rejects,
    read_entries,
    refused_of,
    set_aside,
)
from serving.journal.segments import REJECTED, Segment, hold, list_segments, remove_drafts
from serving.store import tables
from serving.store.database import Database
from serving.store.partitions import ensure_partitions
from serving.store.tables import utc_now
from serving.types import InferenceStatus

logger = logging.getLogger("strop.serving")

_BATCH_BYTES = 4 * 2**20


@dataclass(slots=True)
class IngestReport:
    """What one pass did."""

    has_run: bool = False
    """False: there is no journal, or another process is at it."""
    num_records: int = 0
    num_inferences: int = 0
    """Inferences that are new in the database."""
    num_feedback: int = 0
    num_interrupted: int = 0
    num_unmatched: int = 0
    """Ends that found no inference without an end: repeated, or their begin was lost."""
    num_rejected: int = 0
    """Records that no row could be made of, a later version's among them; see `rejected/` in the
    journal's folder."""
    num_damaged: int = 0
    """Segments that were moved aside."""
    num_torn_bytes: int = 0
    """Bytes of records whose worker died while it wrote them; nobody was told they were kept."""
    num_lag_bytes: int = 0
    """Bytes that came while the pass ran and are still unread."""
    lag_seconds: float = 0.0
    """Age of the oldest inference or rating when this pass stored it."""


@dataclass(slots=True)
class Progress:
    """How far a segment has been read."""

    segment: Segment
    is_closed: bool
    refused: set[str]
    """Inferences of the worker with a record that could not be stored and is in `rejected/`: what comes
    after it would find nothing, and is kept likewise."""
    offset: int = 0
    tail: Tail = Tail.MORE

    @property
    def num_bytes_left(self) -> int:
        """Bytes behind the offset."""
        return self.segment.path.stat().st_size - self.offset

    @property
    def may_be_half_a_copy(self) -> bool:
        """Whether somebody may be copying it here: without a lock, as no worker would write."""
        is_in_a_record = self.tail is Tail.PARTIAL or (self.tail is Tail.MORE and self.offset == 0)
        return is_in_a_record and self.segment.is_fresh()


async def ingest(database: Database, folder: Path) -> IngestReport:
    """Bring everything that the folder's segments hold into the database.

    Raises:
        sqlalchemy.exc.DBAPIError, psycopg.Error: the database is away or full; nothing is lost, try
            again.
        ConflictError: somebody ingests the same segments from elsewhere.
    """
    report = IngestReport()
    with hold(folder) as is_held:
        if is_held:
            report.has_run = True
            remove_drafts(folder)
            remove_drafts(folder / REJECTED)
            for _, segments in groupby(list_segments(folder), key=attrgetter("worker_id")):
                await _ingest_worker(database, list(segments), report)
    return report


async def _ingest_worker(
    database: Database, segments: Sequence[Segment], report: IngestReport
) -> None:
    # Closed or not is asked before reading: afterwards, the end that was read may not be the end.
    refused = await asyncio.to_thread(refused_of, segments[0])
    progress = [Progress(segment, segment.is_closed(), refused) for segment in segments]
    for segment_progress in progress:
        await _read_through(database, segment_progress, report)
        if segment_progress.may_be_half_a_copy:
            segment_progress.is_closed = False
    closed = [each for each in progress if each.is_closed]
    async with database.session() as session:
        if _is_gone(progress):
            report.num_interrupted += await _interrupt(session, segments[0].worker_id)
        for each in closed:
            await _mark_finished(session, each, report)
    for each in closed:
        _remove(each, report)
    report.num_lag_bytes += sum(each.num_bytes_left for each in progress if not each.is_closed)


async def _read_through(database: Database, progress: Progress, report: IngestReport) -> None:
    """Read to where the segment ended when we came: a pass has an end even under full traffic."""
    segment = progress.segment
    progress.offset = await _read_offset(database, segment)
    size = segment.path.stat().st_size
    while progress.tail is Tail.MORE and progress.offset < size:
        reading = await asyncio.to_thread(read_entries, segment, progress.offset, _BATCH_BYTES)
        if reading.end > progress.offset:
            await _store(database, progress, reading, report)
        progress.offset = reading.end
        progress.tail = reading.tail
    if progress.tail is Tail.DAMAGED and not progress.is_closed:
        logger.warning(
            "%s looks damaged at byte %d; it is set aside when its worker lets go of it",
            segment.path,
            progress.offset,
        )


async def _store(
    database: Database, progress: Progress, reading: Reading, report: IngestReport
) -> None:
    """Store what was read, in one transaction with the offset after it."""
    await ensure_partitions(database, days_of(reading.entries))
    async with database.session() as session:
        await _advance(session, progress, reading)
        progress.refused.update(inferences_of(reading.rejects))
        # Whose begin is here is tried: it was but the end that was refused, or is tried once more.
        progress.refused.difference_update(begun_in(reading.entries))
        written, refused = await write_or_isolate(session, reading.entries, progress.refused)
        rejects = sorted([*reading.rejects, *refused], key=attrgetter("frame.offset"))
        if rejects:
            keep_rejects(progress.segment, rejects)
    report.num_records += reading.num_records
    report.num_inferences += written.num_inferences
    report.num_feedback += written.num_feedback
    report.num_unmatched += written.num_unmatched
    report.num_rejected += len(rejects)
    report.lag_seconds = max(report.lag_seconds, age_of_oldest(reading.entries))


async def _read_offset(database: Database, segment: Segment) -> int:
    query = select(tables.Segment.num_bytes).where(tables.Segment.name == segment.path.name)
    async with database.session() as session:
        return (await session.exec(query)).first() or 0


async def _advance(session: AsyncSession, progress: Progress, reading: Reading) -> None:
    """Move the offset; whoever moved it first from here wins."""
    segment = progress.segment
    fresh = insert(tables.Segment).values(
        name=segment.path.name,
        worker_id=segment.worker_id,
        num_bytes=reading.end,
        num_records=reading.num_records,
        num_torn_bytes=0,
    )
    known = col(tables.Segment.num_bytes)
    moved = fresh.on_conflict_do_update(
        index_elements=[col(tables.Segment.name)],
        set_={
            "num_bytes": fresh.excluded.num_bytes,
            "num_records": col(tables.Segment.num_records) + fresh.excluded.num_records,
        },
        where=known == progress.offset,
    ).returning(known)
    if await session.scalar(moved) is None:
        raise ConflictError(
            f"Somebody else has ingested {segment.path.name} past byte {progress.offset}. "
            "One journal folder has one ingest; find the other one."
        )


def _is_gone(progress: Sequence[Progress]) -> bool:
    """Whether the worker is gone: all its segments were closed, and it has opened none since."""
    segment = progress[0].segment
    known = {each.segment for each in progress}
    present = {
        other
        for other in list_segments(segment.path.parent)
        if other.worker_id == segment.worker_id
    }
    return all(each.is_closed for each in progress) and present <= known


async def _interrupt(session: AsyncSession, worker_id: str) -> int:
    statement = (
        update(tables.Inference)
        .where(
            col(tables.Inference.worker_id) == worker_id,
            col(tables.Inference.status) == InferenceStatus.RUNNING,
        )
        .values(status=InferenceStatus.INTERRUPTED)
    )
    return (await session.exec(statement)).rowcount


async def _mark_finished(session: AsyncSession, progress: Progress, report: IngestReport) -> None:
    num_torn = progress.num_bytes_left
    report.num_torn_bytes += num_torn if progress.tail is not Tail.DAMAGED else 0
    statement = (
        update(tables.Segment)
        .where(col(tables.Segment.name) == progress.segment.path.name)
        .values(num_torn_bytes=num_torn, finished_at=utc_now())
    )
    await session.exec(statement)


def _remove(progress: Progress, report: IngestReport) -> None:
    if progress.tail is Tail.DAMAGED:
        set_aside(progress.segment, progress.offset)
        report.num_damaged += 1
    else:
        progress.segment.path.unlink()
