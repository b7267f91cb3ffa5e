"""Deletes what is older than is kept: days of inferences, what hangs on them, what ingest set aside.

One pass:

1. Remove the files that ingest set aside in this folder and that are due.
2. Have gateway workers refuse ratings of what goes.
3. End what a killed pass had begun: PostgreSQL detaches one partition at a time.
4. Detach and drop the table of each day that is due.
5. Delete ratings, reviews and read segments' rows of those days, or of earlier ones.

One process at a time does what is in the database; whoever comes second has done the first step.
Each step can be repeated, so a kill anywhere leaves work for the next pass and nothing else. What
became part of a dataset, an evaluation set, a score, a decision or a sum of usage stays: releases
that serve were made of it.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import date
from math import inf
from pathlib import Path

from serving.errors import UnavailableError
from serving.journal.segments import list_damaged, list_rejected
from serving.settings import Settings
from serving.store.database import Database
from serving.store.partitions import (
    TableState,
    count_rows,
    detach,
    drop_detached,
    list_days,
)
from serving.store.retention import (
    Hanging,
    count_hanging,
    delete_hanging,
    first_kept_day,
    midnight_of,
    note_purge,
)
from serving.store.tables import utc_now

_logger = logging.getLogger("strop.serving")

_LOCK = "purge"
# PostgreSQL detaches one at a time: what is begun comes first, and before that what waits for nobody.
_TURNS = (TableState.APART, TableState.LEAVING, TableState.ATTACHED)


@dataclass(slots=True)
class Purged:
    """What a pass deleted, or would delete."""

    before: date
    """The oldest day that stays."""
    has_run: bool = False
    """False: another process is at it."""
    days: dict[date, int] = field(default_factory=dict)
    """Day -> its inferences."""
    hanging: dict[Hanging, int] = field(default_factory=dict)
    num_files: int = 0
    stuck: UnavailableError | None = None
    """Why a day that is due is still there; what hangs on it went all the same."""


async def purge_expired(database: Database, settings: Settings) -> None:
    """Delete what `store.retention_days` does not keep: the worker's job.

    Raises:
        UnavailableError: a day is still being read; all else is done.
        sqlalchemy.exc.DBAPIError, psycopg.Error: see `purge`.
    """
    if settings.store.retention_days is not None:
        before = first_kept_day(utc_now(), settings.store.retention_days)
        purged = await purge(database, settings.journal_dir, before)
        if purged.stuck is not None:
            raise purged.stuck


async def purge(database: Database, folder: Path, before: date) -> Purged:
    """Delete what is of days before `before`.

    Args:
        folder: the journal's.

    Raises:
        sqlalchemy.exc.DBAPIError, psycopg.Error: the database is away. The next pass goes on.
    """
    purged = Purged(before)
    purged.num_files = await asyncio.to_thread(_remove_set_aside, folder, before)
    async with database.lock(_LOCK) as is_ours:
        purged.has_run = is_ours
        if is_ours:
            async with database.session() as session:
                await note_purge(session, before)
            purged.stuck = await _remove_days(database, purged)
            for kind in Hanging:
                purged.hanging[kind] = await delete_hanging(database, kind, before)
    _tell(purged)
    return purged


async def look_ahead(database: Database, folder: Path, before: date) -> Purged:
    """Count what `purge` would delete. A purge that runs meanwhile waits for nothing here."""
    purged = Purged(before, has_run=True)
    async with database.session() as session:
        tables = await list_days(session)
        for kind in Hanging:
            purged.hanging[kind] = await count_hanging(session, kind, before)
    for table in tables:
        if table.day < before:
            async with database.session() as session:
                num_inferences = await count_rows(session, table.day)
            if num_inferences is not None:
                purged.days[table.day] = num_inferences
    purged.num_files = len(await asyncio.to_thread(_list_set_aside, folder, before))
    return purged


async def _remove_days(database: Database, purged: Purged) -> UnavailableError | None:
    """Remove the tables of the days that are due; return what it was stopped by, if it was."""
    async with database.session() as session:
        tables = await list_days(session)
    try:
        for table in sorted(tables, key=lambda table: _TURNS.index(table.state)):
            is_due = table.day < purged.before
            if table.state is TableState.LEAVING or (table.state is TableState.ATTACHED and is_due):
                await detach(database, table)
            if is_due:
                await _drop_day(database, table.day, purged)
    except UnavailableError as error:
        return error
    return None


async def _drop_day(database: Database, day: date, purged: Purged) -> None:
    async with database.session() as session:
        num_inferences = await count_rows(session, day) or 0
    async with database.session() as session:
        is_gone = await drop_detached(session, day)
    if is_gone:
        purged.days[day] = num_inferences
        _logger.info("Purged %s: %d inferences", day, num_inferences)


def _list_set_aside(folder: Path, before: date) -> list[Path]:
    """Return what was set aside and last written to before a day: it holds nothing newer."""
    midnight = midnight_of(before).timestamp()
    found = [*list_damaged(folder), *list_rejected(folder)]
    return [path for path in found if _written_at(path) < midnight]


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # somebody has just removed it, or moved it back
        return inf


def _remove_set_aside(folder: Path, before: date) -> int:
    found = _list_set_aside(folder, before)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _tell(purged: Purged) -> None:
    if any(purged.hanging.values()) or purged.num_files:
        _logger.info(
            "Purged what is older than %s: %s, %d files set aside",
            purged.before,
            ", ".join(f"{count} {kind}" for kind, count in purged.hanging.items()),
            purged.num_files,
        )
