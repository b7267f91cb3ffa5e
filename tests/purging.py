"""Days of the past, as traffic leaves them, and what of them is there."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from sqlmodel import select

from serving.ids import begun_at
from serving.journal.ingest import ingest
from serving.journal.writer import JournalWriter
from serving.sections import JournalSettings
from serving.settings import Settings
from serving.store.aliases import create_alias, id_of
from serving.store.database import Database
from serving.store.learning import Review
from serving.store.partitions import DayTable, TableState, list_days
from serving.store.retention import midnight_of
from serving.store.tables import Segment
from serving.types import Task
from tests.journal import id_at, make_begin, make_end, make_feedback, read_feedback, read_inferences

LAST_MOMENT = timedelta(days=1) - timedelta(milliseconds=1)


@dataclass
class Kept:
    """The days of which each kind of thing is there."""

    tables: list[date]
    inferences: list[date]
    ratings: list[date]
    reviews: list[date]
    segments: list[date]


async def record_days(database: Database, folder: Path, days: Iterable[date]) -> int:
    """Take in days of traffic, with a review of each answer; return whose: an alias's id."""
    settings = Settings(home=folder)
    async with database.session() as session:
        alias_id = id_of(
            await create_alias(
                session, settings, name=folder.name, tenant="default", task=Task.CHAT
            )
        )
    for day in days:
        await record_day(database, folder, day)
        async with database.session() as session:
            for inference in (await read_inferences(database)).values():
                if inference.begun_at.date() == day:
                    session.add(
                        Review(
                            inference_id=inference.id,
                            alias_id=alias_id,
                            tenant="default",
                            begun_at=inference.begun_at,
                            share=1,
                        )
                    )
            segment = await session.exec(select(Segment).where(Segment.worker_id == f"w-{day}"))
            segment.one().finished_at = midnight_of(day) + LAST_MOMENT
    return alias_id


async def record_day(database: Database, folder: Path, day: date, name: str = "w") -> None:
    """Take in an answer of a day's first moment and one of its last, each of them rated."""
    num_inferences = write_day(folder, day, name)
    report = await ingest(database, folder)
    assert (report.has_run, report.num_inferences) == (True, num_inferences)


def write_day(folder: Path, day: date, name: str) -> int:
    """Journal such a day; return its number of inferences."""
    moments = (midnight_of(day), midnight_of(day) + LAST_MOMENT)
    writer = JournalWriter(folder, JournalSettings(), f"{name}-{day}")
    for at in moments:
        begin = make_begin(id=id_at(at))
        writer.append(begin)
        writer.append(make_end(begin))
        writer.append(make_feedback(begin, id=begin.id[-32:]))
    writer.close()
    return len(moments)


async def read_kept(database: Database) -> Kept:
    """Look what is there. A rating's day is that of its inference."""
    async with database.session() as session:
        tables = await list_days(session)
        reviews = (await session.exec(select(Review))).all()
        segments = (await session.exec(select(Segment))).all()
    ratings = await read_feedback(database)
    return Kept(
        tables=[table.day for table in tables],
        inferences=_days(row.begun_at for row in (await read_inferences(database)).values()),
        ratings=_days(begun_at(row.inference_id) for row in ratings),
        reviews=_days(row.begun_at for row in reviews),
        segments=_days(row.finished_at for row in segments if row.finished_at),
    )


def all_of(days: Iterable[date]) -> Kept:
    """Return what is there when just these days are."""
    known = sorted(days)
    return Kept(known, known, known, known, known)


async def become_leaving(database: Database, day: date) -> None:
    """Wait until a day is being detached."""
    async with asyncio.timeout(60):
        while not await is_leaving(database, day):  # noqa: ASYNC110 - PostgreSQL does not tell
            await asyncio.sleep(0.01)


async def is_leaving(database: Database, day: date) -> bool:
    """Whether the day has been marked as leaving, and has not left."""
    async with database.session() as session:
        return DayTable(day, TableState.LEAVING) in await list_days(session)


def _days(moments: Iterable[datetime]) -> list[date]:
    return sorted({moment.date() for moment in moments})
