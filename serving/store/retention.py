"""How long is kept what users asked and were answered, and what goes with it.

Whole UTC days go, from the oldest on. What hangs on an inference goes by the inference's own time,
whether or not there is a row of it: so a pass that was cut off is ended by the next one.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from psycopg import sql
from sqlmodel import col, or_, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.ids import lowest_id
from serving.store.database import Database, raise_revision
from serving.store.tables import Revision

_BATCH: Final = 10_000


class Hanging(StrEnum):
    """Rows that go with the inferences they are about."""

    RATINGS = "ratings"
    REVIEWS = "reviews"
    SEGMENTS = "segments"


# An id's text is in the order of time byte by byte (~<~), which is not that of every language: in
# Czech digits come after letters. There is an index in that order.
_HANGING: Final[Mapping[Hanging, tuple[str, str]]] = MappingProxyType(
    {
        Hanging.RATINGS: (
            "strop_feedback",
            "inference_id ~<~ {lowest_id}",
        ),
        Hanging.REVIEWS: ("strop_review", "begun_at < {midnight}"),
        Hanging.SEGMENTS: ("strop_segment", "finished_at < {midnight}"),
    }
)


def first_kept_day(now: datetime, retention_days: int) -> date:
    """Return the oldest UTC day that is kept: it has not ended `retention_days` ago yet."""
    return (now.astimezone(UTC) - timedelta(days=retention_days)).date()


def midnight_of(day: date) -> datetime:
    """Return when a UTC day begins."""
    return datetime.combine(day, time.min, UTC)


async def note_purge(session: AsyncSession, before: date) -> None:
    """Have gateway workers refuse ratings of what began before a day: nothing of it is there."""
    moved = (
        update(Revision)
        .where(or_(col(Revision.purged_before).is_(None), col(Revision.purged_before) < before))
        .values(purged_before=before)
    )
    if (await session.exec(moved)).rowcount:
        await raise_revision(session)


async def kept_since(session: AsyncSession) -> datetime | None:
    """Return the moment before which everything was purged; None: nothing was."""
    query = select(Revision).execution_options(populate_existing=True)
    day = (await session.exec(query)).one().purged_before
    return midnight_of(day) if day else None


async def count_hanging(session: AsyncSession, kind: Hanging, before: date) -> int:
    """Return how many rows hang on inferences of days before `before`."""
    table, condition = which(kind, before)
    query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(table, condition)
    connection = await session.connection()
    return int((await connection.exec_driver_sql(query.as_string())).scalar_one())


async def delete_hanging(database: Database, kind: Hanging, before: date) -> int:
    """Delete rows that hang on inferences of days before `before`; return how many.

    Some at a time: who waits for one of them, or for the space of them all, waits for few.
    """
    table, condition = which(kind, before)
    statement = sql.SQL(
        "DELETE FROM {table} WHERE ctid = ANY (ARRAY("
        "SELECT ctid FROM {table} WHERE {condition} LIMIT {batch}))"
    ).format(table=table, condition=condition, batch=_BATCH)
    num_deleted = 0
    while True:
        async with database.session() as session:
            connection = await session.connection()
            num_batch = (await connection.exec_driver_sql(statement.as_string())).rowcount
        num_deleted += num_batch
        if not num_batch:  # a smaller one may be but for rows that somebody changed meanwhile
            return num_deleted


def which(kind: Hanging, before: date) -> tuple[sql.Identifier, sql.Composed]:
    """Return the table, and the condition that holds for rows of inferences before a day."""
    table, condition = _HANGING[kind]
    midnight = midnight_of(before)
    return sql.Identifier(table), sql.SQL(condition).format(
        lowest_id=sql.Literal(lowest_id(midnight)), midnight=sql.Literal(midnight)
    )
