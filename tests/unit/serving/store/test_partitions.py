"""Daily partitions: made once, by whoever comes first, and alike."""

import asyncio
from datetime import date, timedelta

from sqlalchemy import text

from serving.store import schema
from serving.store.database import Database
from serving.store.partitions import ensure_partitions, partition_name

DAYS = [date(2026, 12, 30) + timedelta(days=number) for number in range(4)]


async def count_partitions(database: Database) -> int:
    async with database.session() as session:
        query = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'strop_inference'::regclass"
        return int(await session.scalar(text(query)))


async def test_many_at_once_make_each_day_once(database: Database) -> None:
    """Several processes that meet a new day at the same moment all go on."""
    await asyncio.gather(*(ensure_partitions(database, DAYS) for _ in range(4)))
    await ensure_partitions(database, DAYS)
    assert await count_partitions(database) == len(DAYS)


async def test_partitions_are_indexed_as_their_parent(database: Database) -> None:
    """A partition has the parent's primary key and indexes, and the schema check is content."""
    await ensure_partitions(database, DAYS[:1])
    async with database.session() as session:
        query = text("SELECT count(*) FROM pg_indexes WHERE tablename = :name")
        numbers = [
            await session.scalar(query, {"name": name})
            for name in ("strop_inference", partition_name(DAYS[0]))
        ]
    assert numbers[0] == numbers[1] > 1
    await asyncio.to_thread(schema.check, database.url)
