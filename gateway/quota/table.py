"""Numbers that the gateway workers of one host share: a file under STROP_HOME, mapped by each.

    header   how many rows there are, how many workers' columns were ever in use
    row      one per key, alias, replica or count of addresses: the hash of its name, then the cells below, each of 64
             bits: when its buckets are full again, its month and what it spent in it, its clock
             (of a replica, see Meter), and per worker what runs and what is reserved

Locks are byte ranges of the file, held by an open file ("OFD" locks, fcntl(2)): the kernel lets go
of them when a worker dies, however it dies. A row is read and written under its own lock. A worker
holds one more for as long as it lives: who sees it free takes the worker's counts out of the row.
The first worker on a host, when no other lives, begins with an empty file.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Final

from serving.errors import ConfigurationError, UnavailableError

REQUESTS_FULL_AT: Final = 1
TOKENS_FULL_AT: Final = 2
MONTH: Final = 3
SPENT: Final = 4
CLOCK: Final = 5
MOVED_AT: Final = 6
_NAME: Final = 0

MAX_WORKERS: Final = 128
"""Twice what gateway.workers may be: each may be leaving while its successor is there."""
_CELL_BYTES: Final = 8
_HEADER_CELLS: Final = 32
"""A row is locked by its first byte: none of the workers' bytes is one."""
_NUM_ROWS: Final = 0
_NUM_COLUMNS: Final = 1
_FIRST_RUNNING: Final = 8
_FIRST_RESERVED: Final = _FIRST_RUNNING + MAX_WORKERS
_ROW_CELLS: Final = _FIRST_RESERVED + MAX_WORKERS
_ROWS_AT_ONCE: Final = 256

_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock on 64-bit Linux
_TABLE_BYTE: Final = 0
_FIRST_WORKER_BYTE: Final = 1


class SharedTable:
    """The file as one worker holds it.

    Raises:
        ConfigurationError: the file cannot be made, or too many workers hold it.
    """

    def __init__(self, path: Path) -> None:
        self._rows: dict[str, Row] = {}
        try:
            self._open_file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
            self._file = self._open_file.fileno()
            with self._locked(_TABLE_BYTE):
                if self._is_free(_FIRST_WORKER_BYTE, MAX_WORKERS):
                    os.ftruncate(self._file, 0)
                self.column = self._take_column()
                self._map(max(os.fstat(self._file).st_size, _size_of(_ROWS_AT_ONCE)))
                self.cells[_NUM_COLUMNS] = max(self.num_columns, self.column + 1)
                self._forget_the_dead()
        except OSError as error:
            raise ConfigurationError(
                f"The file of limits {path} cannot be made: {error}. Its folder has to be on a "
                "disk of this machine, with room, and ours."
            ) from error

    @property
    def num_columns(self) -> int:
        """How many workers' columns were ever in use."""
        return self.cells[_NUM_COLUMNS]

    def row(self, name: str) -> "Row":
        """Return the row of that name; the first to ask makes it.

        Raises:
            UnavailableError: the file cannot grow: the disk is full.
        """
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = Row(self, self._file, self._find(name))
        return row

    def is_alive(self, column: int) -> bool:
        """Whether the worker whose column this is lives."""
        return column == self.column or not self._is_free(_FIRST_WORKER_BYTE + column, 1)

    def close(self) -> None:
        """Let go of everything; what this worker counted is forgotten by the others."""
        for row in self._rows.values():
            row.cells.release()
        self.cells.release()
        self._memory.close()
        self._open_file.close()

    def _take_column(self) -> int:
        for column in range(MAX_WORKERS):
            request = flock(fcntl.F_WRLCK, _FIRST_WORKER_BYTE + column)
            try:
                fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, request)
            except (BlockingIOError, PermissionError):
                continue
            return column
        raise ConfigurationError(
            f"{MAX_WORKERS} gateway workers share this home already; there can be no more."
        )

    def _forget_the_dead(self) -> None:
        """Forget what killed workers left behind: the last one of our column, and all others."""
        ended = [
            column
            for column in range(self.num_columns)
            if column == self.column or not self.is_alive(column)
        ]
        for index in range(self.cells[_NUM_ROWS]):
            start = _start_of(index)
            for column in ended:
                self.cells[start + _FIRST_RUNNING + column] = 0
                self.cells[start + _FIRST_RESERVED + column] = 0

    def _find(self, name: str) -> int:
        """Return where the row of that name starts."""
        digest = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)
        with self._locked(_TABLE_BYTE):
            num_rows = self.cells[_NUM_ROWS]
            self._reach(num_rows + 1)
            end = _start_of(num_rows)
            names = self.cells[_start_of(0) + _NAME : end : _ROW_CELLS].tolist()
            if digest in names:
                return _start_of(names.index(digest))
            self.cells[end + _NAME] = digest
            self.cells[_NUM_ROWS] = num_rows + 1
            return end

    def _reach(self, num_rows: int) -> None:
        """Map at least so many rows; the file may have grown, or has to."""
        if _size_of(num_rows) <= len(self._memory):
            return
        size = max(os.fstat(self._file).st_size, len(self._memory) + _size_of(_ROWS_AT_ONCE))
        try:
            old_cells, old_memory = self.cells, self._memory
            self._map(size)
        except OSError as error:
            raise UnavailableError(
                "There is no room on the gateway's disk to count this key's requests.",
                code="no_room_for_limits",
                retry_after=10,
            ) from error
        for row in self._rows.values():
            row.follow()
        old_cells.release()
        old_memory.close()

    def _map(self, size: int) -> None:
        # With its blocks reserved: a write into a hole of a full disk would kill the process.
        os.posix_fallocate(self._file, 0, size)
        self._memory = mmap.mmap(self._file, size)
        self.cells = memoryview(self._memory).cast("q")

    @contextmanager
    def _locked(self, byte: int) -> Iterator[None]:
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLKW, flock(fcntl.F_WRLCK, byte))
        try:
            yield
        finally:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLKW, flock(fcntl.F_UNLCK, byte))

    def _is_free(self, byte: int, count: int) -> bool:
        request = flock(fcntl.F_WRLCK, byte, count)
        found = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, request)
        return bool(_FLOCK.unpack(found)[0] == fcntl.F_UNLCK)


class Row:
    """The cells of one name; `with row:` is its lock, inside of which they may be changed.

    `lock` and `unlock` are the same for those who count microseconds. This worker's own counts are
    nobody else's to change, and reading without the lock tells what was true a moment ago.
    """

    __slots__ = ("_reserved", "_running", "_start", "_table", "cells", "lock", "unlock")

    def __init__(self, table: SharedTable, file: int, start: int) -> None:
        self.cells = table.cells[start : start + _ROW_CELLS]
        self._table = table
        self._start = start
        self._running = _FIRST_RUNNING + table.column
        self._reserved = _FIRST_RESERVED + table.column
        byte = start * _CELL_BYTES
        # Waits for who holds it: some microseconds.
        self.lock = partial(fcntl.fcntl, file, fcntl.F_OFD_SETLKW, flock(fcntl.F_WRLCK, byte))
        self.unlock = partial(fcntl.fcntl, file, fcntl.F_OFD_SETLKW, flock(fcntl.F_UNLCK, byte))

    def follow(self) -> None:
        """Go on where the table is mapped now; whoever still has the old cells must not use them."""
        self.cells.release()
        self.cells = self._table.cells[self._start : self._start + _ROW_CELLS]

    def __enter__(self) -> "Row":
        self.lock()
        return self

    def __exit__(self, *_: object) -> None:
        self.unlock()

    def __getitem__(self, cell: int) -> int:
        return self.cells[cell]

    def __setitem__(self, cell: int, value: int) -> None:
        self.cells[cell] = value

    @property
    def num_running(self) -> int:
        """Requests of all workers."""
        num_columns = self._table.cells[_NUM_COLUMNS]
        return sum(self.cells[_FIRST_RUNNING : _FIRST_RUNNING + num_columns])

    @property
    def num_reserved(self) -> int:
        """Tokens that all workers' requests reserve."""
        num_columns = self._table.cells[_NUM_COLUMNS]
        return sum(self.cells[_FIRST_RESERVED : _FIRST_RESERVED + num_columns])

    def begin(self) -> None:
        """Count a request of this worker."""
        self.cells[self._running] += 1

    def reserve(self, num_tokens: int) -> None:
        """Add to what requests of this worker reserve."""
        self.cells[self._reserved] += num_tokens

    def end(self, num_reserved: int) -> None:
        """Count it no more. What is reserved goes first: a death in between leaves it findable."""
        self.cells[self._reserved] -= num_reserved
        self.cells[self._running] -= 1

    def forget_dead_workers(self) -> None:
        """Take out what workers had running that live no more."""
        cells = self.cells
        for column in range(self._table.num_columns):
            running = _FIRST_RUNNING + column
            if cells[running] and not self._table.is_alive(column):
                cells[running] = 0
                cells[_FIRST_RESERVED + column] = 0


def flock(kind: int, first: int, count: int = 1) -> bytes:
    """Return a lock of `count` bytes of the file, as fcntl(2) takes it."""
    return _FLOCK.pack(kind, os.SEEK_SET, first, count, 0)


def _start_of(row: int) -> int:
    return _HEADER_CELLS + row * _ROW_CELLS


def _size_of(num_rows: int) -> int:
    return _start_of(num_rows) * _CELL_BYTES
