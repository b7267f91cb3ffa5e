"""kill -9 of a purge: nothing that should stay is lost, and the next pass ends the work."""

import asyncio
import os
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlmodel import select

from serving.errors import UnavailableError
from serving.journal.records import SUFFIX
from serving.journal.segments import DAMAGED
from serving.purge import purge
from serving.store.database import Database
from serving.store.tables import Inference
from tests.faults.failpoints import PURGE, become_purge
from tests.faults.test_failpoints import a_process, died
from tests.purging import all_of, become_leaving, read_kept, record_days
from tests.scale import Scale

DAYS = [date(2026, 3, 1) + timedelta(days=number) for number in range(3)]
BEFORE = DAYS[2]
STAY = DAYS[2:]


@pytest.mark.parametrize("point", PURGE)
async def test_a_purge_killed_anywhere_is_ended_by_the_next(
    database: Database, tmp_path: Path, scale: Scale, point: str
) -> None:
    """And at no time is anything missing of the days that stay."""
    for number in range(scale.count(1, full=20)):
        folder, log = tmp_path / f"journal-{number}", tmp_path / "log"
        await record_days(database, folder, DAYS)
        set_aside = folder / f"w.000001{SUFFIX}{DAMAGED}"
        set_aside.touch()
        os.utime(set_aside, (0, 0))
        arguments = (point, BEFORE, str(folder), database.url, log)
        async with a_process(become_purge, *arguments) as process:
            await died(process, log)
        kept = await read_kept(database)
        assert set(STAY) <= set(kept.inferences) & set(kept.ratings) & set(kept.reviews)
        await end(database, folder)
        assert not set_aside.exists()
        await purge(database, folder, DAYS[-1] + timedelta(days=1))


async def test_a_purge_killed_while_it_waits_is_ended_by_the_next(
    database: Database, tmp_path: Path
) -> None:
    """PostgreSQL may still be at the killed one's detach, or have given it up."""
    folder = tmp_path / "journal"
    await record_days(database, folder, DAYS)
    async with database.session() as reader:
        await reader.exec(select(Inference.id))
        arguments = (None, BEFORE, str(folder), database.url, tmp_path / "log")
        async with a_process(become_purge, *arguments) as process:
            await become_leaving(database, DAYS[0])
            process.kill()
            await asyncio.to_thread(process.join)
    await end(database, folder)


async def end(database: Database, folder: Path) -> None:
    """Purge until a pass comes through, as the worker does: PostgreSQL may not know of the death yet."""
    async with asyncio.timeout(100):
        while not await comes_through(database, folder):  # noqa: ASYNC110 - it asks PostgreSQL
            await asyncio.sleep(0.05)
    assert await read_kept(database) == all_of(STAY)


async def comes_through(database: Database, folder: Path) -> bool:
    """Make a pass; return whether it was its turn."""
    try:
        return (await purge(database, folder, BEFORE)).has_run
    except (UnavailableError, psycopg.Error):  # the dead one's detach is not over, or just is
        return False
