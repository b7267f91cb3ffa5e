"""The journal's reader: from a segment's bytes to rows, a bounded batch at a time."""

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from serving.ids import begun_at, moment_of
from serving.journal.frames import Frame, Tail, pack, read_batch
from serving.journal.records import MAGIC, MAX_PAYLOAD_BYTES, Begin, End, Record
from serving.journal.rows import (
    BegunRow,
    EndedRow,
    FeedbackRow,
    Row,
    Rows,
    begin_row,
    end_row,
    feedback_row,
)
from serving.journal.segments import DAMAGED, REJECTED, Segment, list_rejected, segment_path

logger = logging.getLogger("strop.serving")

_DECODER: Final = msgspec.msgpack.Decoder(Record)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A record's row, and the frame that the record came in."""

    frame: Frame
    row: Row

    @property
    def at(self) -> datetime:
        """When the inference began or the rating was given."""
        return self.row.given_at if isinstance(self.row, FeedbackRow) else self.row.begun_at

    @property
    def inference_id(self) -> str | None:
        """Whose begin or end it is; None: a rating."""
        return None if isinstance(self.row, FeedbackRow) else self.row.id


@dataclass(frozen=True, slots=True)
class Reject:
    """A frame that no row can be made of, and why."""

    frame: Frame
    reason: str
    inference_id: str | None
    """Whose record it is: what comes after it alone would find nothing. None: a rating, or who knows."""


@dataclass(slots=True)
class Reading:
    """What a stretch of a segment holds."""

    end: int
    """Where to go on."""
    tail: Tail
    num_records: int
    entries: list[Entry] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


def read_entries(segment: Segment, offset: int, max_bytes: int) -> Reading:
    """Read from `offset` on, for about `max_bytes`; a record that is none stops nothing."""
    batch = read_batch(segment.path, offset, max_bytes)
    reading = Reading(batch.end, batch.tail, len(batch.frames))
    for frame in batch.frames:
        try:
            row = _row_of(decode(frame.payload), segment.worker_id)
            reading.entries.append(Entry(frame, row))
        except (ValueError, RecursionError) as error:
            # Not its repr: that of a UnicodeDecodeError holds the whole text.
            reason = f"{type(error).__name__}: {error}"
            reading.rejects.append(Reject(frame, reason, _inference_in(frame)))
    return reading


def decode(payload: bytes) -> Record:
    """Read a record.

    Raises:
        ValueError: it is none, or one of a type that only a later version knows.
    """
    record: Record = _DECODER.decode(payload)
    return record


def rows_of(entries: Iterable[Entry]) -> Rows:
    """Sort the rows by what is done with them. The first end of an inference counts."""
    rows = Rows()
    for entry in entries:
        row = entry.row
        if isinstance(row, BegunRow):
            rows.begins.append(row)
        elif isinstance(row, EndedRow):
            rows.ends.setdefault(row.id, row)
        else:
            rows.feedback.append(row)
    return rows


def days_of(entries: Iterable[Entry]) -> set[date]:
    """Return the UTC days on which inferences begin here."""
    return {entry.row.begun_at.date() for entry in entries if isinstance(entry.row, BegunRow)}


def begun_in(entries: Iterable[Entry]) -> set[str]:
    """Return the inferences that begin here."""
    return {entry.row.id for entry in entries if isinstance(entry.row, BegunRow)}


def age_of_oldest(entries: Iterable[Entry]) -> float:
    """Return how many seconds ago the oldest inference or rating came; 0 without any."""
    oldest = min((entry.at for entry in entries), default=None)
    return _age_of(oldest) if oldest else 0.0


def age_of_next(segment: Segment, offset: int) -> float:
    """Return how many seconds ago the record at `offset` came, its bodies unread; 0 without one."""
    for frame in read_batch(segment.path, offset, 1).frames:
        with suppress(ValueError):
            found = msgspec.msgpack.decode(frame.payload, type=_Dated)
            return _age_of(found.at)
    return 0.0


def refused_of(segment: Segment) -> set[str]:
    """Return the inferences of a segment's worker with a begin or an end in `rejected/`."""
    return {
        inference_id
        for path in list_rejected(segment.path.parent)
        if path.name.startswith(f"{segment.worker_id}.")
        for inference_id in _inferences_in(path)
    }


@lru_cache(maxsize=4096)
def _inferences_in(path: Path) -> frozenset[str]:
    """Read a file that never changes, and whose name never comes again."""
    try:
        frames = read_batch(path, 0, MAX_PAYLOAD_BYTES).frames
    except FileNotFoundError:  # somebody has just moved it back
        return frozenset()
    found = (_inference_in(frame) for frame in frames)
    return frozenset(inference_id for inference_id in found if inference_id is not None)


def keep_rejects(segment: Segment, rejects: Sequence[Reject]) -> None:
    """Put records, at least one, into `rejected/` beside their segment, as a segment of their own.

    Moved back into the journal's folder, they are tried again. Their number is the time, in
    microseconds: so files of one worker are read in the order in which they were kept, and none
    ever has the name of one that was moved back, which ingest would take for read.
    """
    folder, first = segment.path.parent / REJECTED, rejects[0]
    folder.mkdir(mode=0o700, exist_ok=True)
    path = segment_path(folder, segment.worker_id, time.time_ns() // 1000)
    draft = path.with_name(f".{path.name}")
    try:
        draft.write_bytes(MAGIC + b"".join(pack(reject.frame.payload) for reject in rejects))
        draft.chmod(0o600)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    logger.error(
        "%d records of %s cannot be stored, the first of them at byte %d: %s. They are kept as %s",
        len(rejects),
        segment.path.name,
        first.frame.offset,
        first.reason,
        path,
    )


def set_aside(segment: Segment, offset: int) -> Path:
    """Rename a segment that is damaged at `offset`, so that nobody reads or removes it."""
    kept = segment.path.with_name(segment.path.name + DAMAGED)
    segment.path.rename(kept)
    logger.error(
        "%s is damaged at byte %d; the records before it are stored, the file is kept as %s",
        segment.path.name,
        offset,
        kept,
    )
    return kept


class _Dated(msgspec.Struct):
    """What of a record says when it came."""

    id: str
    given_at_ms: int | None = None

    @property
    def at(self) -> datetime:
        return begun_at(self.id) if self.given_at_ms is None else moment_of(self.given_at_ms)


def _age_of(moment: datetime) -> float:
    return max(0.0, time.time() - moment.timestamp())


def _inference_in(frame: Frame) -> str | None:
    """Return whose begin or end this is, as far as that can be read."""
    try:
        found = msgspec.msgpack.decode(frame.payload, type=_Dated)
    except (ValueError, RecursionError):
        return None
    return found.id if found.given_at_ms is None else None


def _row_of(record: Record, worker_id: str) -> Row:
    if isinstance(record, Begin):
        return begin_row(record, worker_id)
    return end_row(record) if isinstance(record, End) else feedback_row(record)
