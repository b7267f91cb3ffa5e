"""The journal's writer: one append per record, durable against kill -9 when `append` returns.

Two appends a request run on the gateway's event loop, so they are a system call or two and plain
arithmetic; once a second the folder is measured, too. With `journal.durability = "power"` a thread syncs, one segment after the other, in
the order in which they were written; only `flush` waits for it.
"""

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from serving.errors import PayloadTooLargeError, UnavailableError
from serving.journal.frames import pack
from serving.journal.records import End, Record
from serving.journal.reserve import Reserve
from serving.journal.segments import OpenSegment, count_bytes, segment_path
from serving.publish import sync
from serving.sections import JournalSettings

logger = logging.getLogger("strop.serving")

_COUNT_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_RETRY_SECONDS = 5.0
_TELL_SECONDS = 60.0
_MARK_BYTES = 64  # room for what MessagePack needs to say that a body was cut


class JournalWriter:
    """One gateway worker's way into the journal. Not for use from several threads.

    Raises:
        UnavailableError: the folder or the first segment cannot be made.
    """

    def __init__(self, folder: Path, settings: JournalSettings, worker_id: str) -> None:
        self._folder = folder
        self._settings = settings
        self._worker_id = worker_id
        self._encoder = msgspec.msgpack.Encoder()
        self._number = 1
        self._counted_at = -_COUNT_SECONDS
        self._looked_at = -_LOOK_SECONDS
        self._num_folder_bytes = 0
        self._num_appended = 0
        self._num_synced = 0
        self._syncing = ThreadPoolExecutor(1, "journal-sync")
        self._sync_error: OSError | None = None
        self._named: OpenSegment | None = None  # the newest whose name is on disk
        self._sync_lock = asyncio.Lock()
        self._told: tuple[str, int] | None = None
        self._rotates_at = 0.0  # not before: the last try failed
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._segment = self._open_segment()
            self._reserve = Reserve(folder, settings.reserve_bytes)
        except OSError as error:
            raise UnavailableError(
                f"The journal in {folder} cannot be written: {error}. Check that it is there, its "
                "disk and its permissions.",
                code="journal_unwritable",
            ) from error

    @property
    def has_failed(self) -> bool:
        """Whether a sync failed: nothing more is acknowledged, and only another writer can go on."""
        return self._sync_error is not None

    def append(self, record: Record) -> None:
        """Write one record.

        The end of a request that was begun is taken above the watermark too, and out of the reserve
        when the disk is full.

        Raises:
            UnavailableError: the journal is full, the disk is, or the folder is gone.
            PayloadTooLargeError: the record is longer than `max_record_bytes`, and not because
                of an answer, which would be cut.
        """
        frame, is_end = pack(self._encode(record)), isinstance(record, End)
        num_bytes, now = len(frame), time.monotonic()
        # To ask the system costs as much as to write. An end seldom has to: a begin just did.
        if not is_end or now - self._looked_at >= _LOOK_SECONDS:
            self._look(now)
        if not is_end:
            self._refuse_above_watermark(num_bytes, now)
        if self._segment.num_bytes + num_bytes > self._settings.segment_bytes:
            self._rotate(now)
        try:
            self._segment.append(frame)
        except OSError as error:
            self._append_on_full_disk(frame, error, is_end=is_end)
        self._num_folder_bytes += num_bytes
        self._num_appended += 1

    async def flush(self) -> None:
        """Return when everything appended so far survives what `journal.durability` promises.

        Whoever comes while a sync runs waits for the next one, and shares it.

        Raises:
            UnavailableError: the disk failed a sync.
        """
        if self._settings.durability == "process":
            return
        wanted = self._num_appended
        async with self._sync_lock:
            if self._num_synced >= wanted:
                return
            covered = self._num_appended
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._syncing, self._sync, self._segment)
            if self._sync_error is not None:
                raise self._unwritable(self._sync_error)
            self._num_synced = covered

    def close(self) -> None:
        """Close the segment: ingest takes the worker for gone and finishes it."""
        self._syncing.shutdown()
        self._segment.close()
        self._reserve.close()

    def _append_on_full_disk(self, frame: bytes, refused: OSError, *, is_end: bool) -> None:
        try:
            self._reserve.let_go()
            if not is_end:
                raise refused
            self._segment.append(frame)
        except OSError as error:
            raise self._unwritable(error) from error

    def _encode(self, record: Record) -> bytes:
        payload = self._encode_text(record)
        num_over = len(payload) - self._settings.max_record_bytes
        if num_over <= 0:
            return payload
        if not isinstance(record, End) or len(record.response) < num_over + _MARK_BYTES:
            raise PayloadTooLargeError(
                f"The request takes {len(payload)} bytes in the journal, which takes "
                f"{self._settings.max_record_bytes} at most. Send less, or raise "
                "journal.max_record_bytes."
            )
        kept = record.response[: -(num_over + _MARK_BYTES)]
        return self._encode_text(msgspec.structs.replace(record, response=kept, is_truncated=True))

    def _encode_text(self, record: Record) -> bytes:
        try:
            return self._encoder.encode(record)
        except UnicodeEncodeError:  # a lone surrogate, which no UTF-8 and no database takes
            return self._encoder.encode(_without_surrogates(record))

    def _look(self, now: float) -> None:
        """Make sure that the open segment can be read, and has not been deleted."""
        if self._segment.is_gone:
            self._looked_at = -_LOOK_SECONDS
            self._begin_anew()
        self._looked_at = now

    def _refuse_above_watermark(self, num_bytes: int, now: float) -> None:
        if now - self._counted_at >= _COUNT_SECONDS:
            self._count(now)
            is_full = self._num_folder_bytes + num_bytes > self._settings.max_bytes
            if is_full or not self._reserve.is_whole:
                self._let_go(now)
            self._reserve.fill()
        if not self._reserve.is_whole:
            raise self._refusal(
                "journal_full",
                "its disk is full. Check that the worker runs and reaches the database, and who else "
                "writes to that disk",
            )
        if self._num_folder_bytes + num_bytes > self._settings.max_bytes:
            raise self._refusal(
                "journal_full",
                f"it holds {self._settings.max_bytes} bytes that nobody has read, the most it may. "
                "Check that the worker runs and reaches the database",
            )

    def _count(self, now: float) -> None:
        try:
            self._num_folder_bytes = count_bytes(self._folder)
        except OSError as error:
            raise self._unwritable(error) from error
        self._counted_at = now

    def _begin_anew(self) -> None:
        """Go on in a new segment. The folder is not made again: it may be a disk that is away."""
        try:
            fresh = self._open_segment()
        except OSError as error:
            raise self._unwritable(error) from error
        logger.error("%s was deleted; what was not read of it is lost", self._segment.path)
        self._go_on_in(fresh)

    def _let_go(self, now: float) -> None:
        """Have the open segment read and removed: no later record would ever rotate it away."""
        if self._segment.has_records:
            self._rotate(now)

    def _rotate(self, now: float) -> None:
        if now < self._rotates_at:
            return
        try:
            fresh = self._open_segment()
        except OSError:
            # The old one still takes records; a long segment harms nobody.
            logger.exception("No new segment in %s; the old one grows on", self._folder)
            self._rotates_at = now + _RETRY_SECONDS
            return
        self._go_on_in(fresh)

    def _go_on_in(self, fresh: OpenSegment) -> None:
        former, self._segment = self._segment, fresh
        if self._settings.durability == "power":
            self._syncing.submit(self._finish, former)
        else:
            former.close()

    def _open_segment(self) -> OpenSegment:
        segment = OpenSegment(segment_path(self._folder, self._worker_id, self._number))
        self._number += 1
        return segment

    def _finish(self, segment: OpenSegment) -> None:
        """In the thread: have on disk what is in it, and let go of it."""
        try:
            self._sync(segment)
        finally:
            segment.close()

    def _sync(self, segment: OpenSegment) -> None:
        """In the thread: wait until a segment's name and records are on disk."""
        if self._sync_error is not None:
            return
        try:
            if self._named is not segment:
                sync(self._folder)
                self._named = segment
            os.fdatasync(segment.descriptor)
        except OSError as error:
            # The kernel reports lost pages once; the next sync would succeed without them.
            logger.exception("%s failed a sync: nothing more is acknowledged", self._folder)
            self._sync_error = error

    def _unwritable(self, error: OSError) -> UnavailableError:
        return self._refusal(
            "journal_unwritable",
            f"{error}. Check that it is there, its disk and its permissions; restart the gateway if "
            "this persists",
        )

    def _refusal(self, code: str, reason: str) -> UnavailableError:
        """Return what any client may read, strangers too; the log has the reason, once a minute."""
        told = reason, int(time.monotonic() / _TELL_SECONDS)
        if told != self._told:
            self._told = told
            logger.error("The journal in %s takes nothing: %s.", self._folder, reason)
        return UnavailableError(
            "The gateway cannot record requests now, so it takes none. Try again in a moment.",
            code=code,
            retry_after=_RETRY_SECONDS,
        )


def _without_surrogates(record: Record) -> Record:
    cleaned = {
        name: value.encode("utf-8", "replace").decode()
        for name, value in msgspec.structs.asdict(record).items()
        if type(value) is str
    }
    return msgspec.structs.replace(record, **cleaned)
