"""Daily partitions of `strop_inference`: made when the first row of a day comes, removed by a purge.

A day's table goes in steps, and a kill between any two leaves what the next pass goes on from:

    attached -> leaving   `DETACH ... CONCURRENTLY` has begun: nobody who begins now sees the day, and
                          it waits for those who may; a kill or a time-out leaves it so
    leaving -> apart      a table by itself, which ingest attaches again if rows of the day come late
    apart -> gone         dropped
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

import psycopg
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import UnavailableError
from serving.store.database import Database, wait_lock

_PARENT = "strop_inference"
_PATIENCE_MS = 10_000


class TableState(StrEnum):
    """What a day's table is to its parent; see above."""

    ATTACHED = "attached"
    LEAVING = "leaving"
    APART = "apart"


@dataclass(frozen=True, slots=True, order=True)
class DayTable:
    """The table that holds one UTC day."""

    day: date
    state: TableState


async def ensure_partitions(database: Database, days: Iterable[date]) -> None:
    """Make sure that rows of these UTC days have a partition to go to."""
    async with database.session() as session:
        for day in sorted(set(days)):
            if not await _is_attached(session, day):
                await _create(session, day)


def partition_name(day: date) -> str:
    """Return the name of the table that holds one UTC day."""
    return f"{_PARENT}_{day:%Y%m%d}"


async def list_days(session: AsyncSession) -> list[DayTable]:
    """Return the days that have a table, the oldest first."""
    query = text(
        "SELECT right(relname, 8) AS day, CASE WHEN inhrelid IS NULL THEN 'apart' "
        "WHEN inhdetachpending THEN 'leaving' ELSE 'attached' END AS state "
        "FROM pg_class LEFT JOIN pg_inherits ON inhrelid = pg_class.oid "
        "WHERE relname ~ :pattern AND relkind = 'r' "
        "AND relnamespace = CAST(current_schema() AS regnamespace)"
    )
    connection = await session.connection()
    found = await connection.execute(query, {"pattern": f"^{_PARENT}_[0-9]{{8}}$"})
    return sorted(DayTable(date.fromisoformat(day), TableState(state)) for day, state in found)


async def count_rows(session: AsyncSession, day: date) -> int | None:
    """Return how many inferences a day's table holds, attached or not; None: it has just been dropped."""
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(partition_name(day)))
    connection = await session.connection()
    try:
        return int((await connection.exec_driver_sql(query.as_string())).scalar_one())
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.UndefinedTable):
            await session.rollback()
            return None
        raise


async def detach(database: Database, table: DayTable) -> None:
    """Take a day's table out of its parent; nobody who reads or writes waits for that.

    Cut off while it waits itself, it leaves the table leaving, and goes on from there when it is
    called again.

    Raises:
        UnavailableError: somebody who began before may still read the day.
        psycopg.Error: the database is away, or a killed process's detach has ended meanwhile.
    """
    way = "FINALIZE" if table.state is TableState.LEAVING else "CONCURRENTLY"
    statement = sql.SQL("ALTER TABLE {} DETACH PARTITION {} " + way).format(
        sql.Identifier(_PARENT), sql.Identifier(partition_name(table.day))
    )
    # Outside of a transaction: it makes two of its own. It waits with a lock that whoever makes a
    # new day's partition needs, too: so not for long.
    async with await psycopg.AsyncConnection.connect(
        database.url, autocommit=True, options=f"-c lock_timeout={_PATIENCE_MS}"
    ) as connection:
        try:
            await connection.execute(statement)
        except psycopg.errors.LockNotAvailable as error:
            raise _still_read(table.day) from error


async def drop_detached(session: AsyncSession, day: date) -> bool:
    """Drop a day's table; return whether it is gone. Ingest may have attached it again meanwhile.

    Raises:
        UnavailableError: somebody still reads it.
    """
    await wait_lock(session, _PARENT)
    if await _is_attached(session, day):
        return False
    statement = sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(partition_name(day)))
    connection = await session.connection()
    try:
        # Who makes a new day's partition waits for us.
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_PATIENCE_MS}")
        await connection.exec_driver_sql(statement.as_string())
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise _still_read(day) from error
        raise
    return True


def _still_read(day: date) -> UnavailableError:
    return UnavailableError(
        f"{day} cannot be purged yet: a transaction that began before is still open, perhaps a "
        "backup's. Purge again when that is over; what `store.retention_days` asks for, the worker "
        "tries again every hour."
    )


async def _is_attached(session: AsyncSession, day: date) -> bool:
    # Not to_regclass: within a transaction it may answer from a cache that missed the neighbours.
    query = text(
        "SELECT EXISTS (SELECT FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid "
        "WHERE relname = :name AND relnamespace = CAST(current_schema() AS regnamespace))"
    )
    return bool(await session.scalar(query, {"name": partition_name(day)}))


async def _create(session: AsyncSession, day: date) -> None:
    await wait_lock(session, _PARENT)
    if await _is_attached(session, day):
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
        "CREATE TABLE IF NOT EXISTS {child} "
        "(LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        "ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES FROM ({first}) TO ({last})",
    ):
        await connection.exec_driver_sql(sql.SQL(statement).format(**values).as_string())
