"""Daily partitions of `strop_inference`, made when the first row of a day comes."""

from collections.abc import Iterable
from datetime import date, timedelta

from psycopg import sql
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.store.database import Database, wait_lock

_PARENT = "strop_inference"


async def ensure_partitions(database: Database, days: Iterable[date]) -> None:
    """Make sure that rows of these UTC days have a partition to go to."""
    async with database.session() as session:
        for day in sorted(set(days)):
            if not await _exists(session, day):
                await _create(session, day)


def partition_name(day: date) -> str:
    """Return the name of the table that holds one UTC day."""
    return f"{_PARENT}_{day:%Y%m%d}"


async def _exists(session: AsyncSession, day: date) -> bool:
    # Not to_regclass: within a transaction it may answer from a cache that missed the neighbours.
    query = text(
        "SELECT EXISTS (SELECT FROM pg_class WHERE relname = :name "
        "AND relnamespace = CAST(current_schema() AS regnamespace))"
    )
    return bool(await session.scalar(query, {"name": partition_name(day)}))


async def _create(session: AsyncSession, day: date) -> None:
    await wait_lock(session, _PARENT)
    if await _exists(session, day):
        return  # somebody made it while we waited
    # Made apart and then attached: CREATE ... PARTITION OF would lock out every reader.
    values = {
        "child": sql.Identifier(partition_name(day)),
        "parent": sql.Identifier(_PARENT),
        "first": sql.Literal(f"{day.isoformat()} 00:00:00+00"),
        "last": sql.Literal(f"{(day + timedelta(days=1)).isoformat()} 00:00:00+00"),
    }
    connection = await session.connection()
    for statement in (
        "CREATE TABLE {child} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        "ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES FROM ({first}) TO ({last})",
    ):
        await connection.exec_driver_sql(sql.SQL(statement).format(**values).as_string())
