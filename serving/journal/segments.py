"""Segment files: their names, their locks, and the one that a writer appends to."""

import errno
import fcntl
import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from serving.journal.records import MAGIC, SUFFIX

_NAME = re.compile(
    r"(?P<worker_id>[A-Za-z0-9][A-Za-z0-9._-]{0,63})\.(?P<number>\d{6,18})" + re.escape(SUFFIX)
)
_FRESH_SECONDS = 60

DAMAGED = ".damaged"
"""Ends the name of a segment that was set aside."""
REJECTED = "rejected"
"""The folder beside the segments for records that no row can be made of."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A segment file. Segments sort by worker, and by age within one."""

    worker_id: str
    number: int
    path: Path

    def is_closed(self) -> bool:
        """Whether no further byte can come: its worker has gone on, or is gone."""
        with self.path.open("rb") as file:
            return _try_lock(file.fileno(), fcntl.LOCK_SH)

    def is_fresh(self) -> bool:
        """Whether somebody wrote to it just now."""
        return _is_fresh(self.path)


def segment_at(path: Path) -> Segment | None:
    """Read a file's name; None: it is not a segment's."""
    match = _NAME.fullmatch(path.name)
    return Segment(match["worker_id"], int(match["number"]), path) if match else None


def segment_path(folder: Path, worker_id: str, number: int) -> Path:
    """Return where a worker's segment of that number lies."""
    return folder / f"{worker_id}.{number:06d}{SUFFIX}"


def list_segments(folder: Path) -> list[Segment]:
    """Return the folder's segments in the order in which they have to be read."""
    found = (segment_at(path) for path in folder.iterdir())
    return sorted(segment for segment in found if segment is not None)


def list_damaged(folder: Path) -> list[Path]:
    """Return the segments that were set aside."""
    return sorted(folder.glob(f"*{SUFFIX}{DAMAGED}"))


def list_rejected(folder: Path) -> list[Path]:
    """Return the records that were set aside, a file each."""
    return sorted((folder / REJECTED).glob(f"*{SUFFIX}"))


def remove_drafts(folder: Path) -> None:
    """Remove what workers leave that die while they make a segment. Making one takes no time."""
    for path in folder.glob(f".*{SUFFIX}"):
        with suppress(FileNotFoundError):  # it has just got its name
            if not _is_fresh(path):
                path.unlink()


def count_bytes(folder: Path) -> int:
    """Return how many bytes the folder's segments hold together."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:
                    continue  # ingest has just removed it
    return total


@contextmanager
def hold(folder: Path) -> Generator[bool]:
    """Try to be the only one at work in `folder`; yield whether we are. Dies with the process.

    The folder's own lock, not the database's: folders are ingested side by side, and whoever sees
    the same folder, from whatever container, meets the same lock.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # no worker has written yet
        yield False
        return
    try:
        yield _try_lock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


class OpenSegment:
    """A new segment, locked until `close` or the end of the process.

    Raises:
        OSError: it cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_bytes = 0
        self._has_half_frame = False
        # Named last: a segment that can be seen is locked, or its worker has let go of it.
        draft = path.with_name(f".{path.name}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self.descriptor = os.open(draft, flags, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            self.append(MAGIC)
            draft.rename(path)
        except OSError:
            self.close()
            draft.unlink()
            raise

    @property
    def has_records(self) -> bool:
        """Whether anything stands behind the magic."""
        return self.num_bytes > len(MAGIC)

    @property
    def is_gone(self) -> bool:
        """Whether somebody has deleted the file: what is written into it is lost."""
        return os.fstat(self.descriptor).st_nlink == 0

    def append(self, frame: bytes) -> None:
        """Write a frame whole or not at all.

        Raises:
            OSError: the disk did not take it; nothing of it counts.
        """
        if self._has_half_frame:
            self._cut()
        self._has_half_frame = True
        try:
            num_written = os.write(self.descriptor, frame)
        except OSError:
            self._cut()
            raise
        if num_written < len(frame):
            self._cut()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._has_half_frame = False
        self.num_bytes += len(frame)

    def close(self) -> None:
        """Let go of the file and its lock: from now on no byte will come."""
        os.close(self.descriptor)

    def _cut(self) -> None:
        os.ftruncate(self.descriptor, self.num_bytes)
        self._has_half_frame = False


def _is_fresh(path: Path) -> bool:
    return time.time() - path.stat().st_mtime <= _FRESH_SECONDS


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
