"""Rows into tables, many at a time, and the same however often they come.

Each statement takes its rows as one array per column (`unnest`): one round trip, one plan, no
limit on parameters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Column, CursorResult, Dialect
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.journal.rows import Row, Rows

_INSERT = (
    "INSERT INTO {table} ({names}) SELECT * FROM {rows} ON CONFLICT DO NOTHING RETURNING {table}.id"
)
# The times name the partitions to look into. An end may come after its worker was given up.
_FINISH = (
    "UPDATE {table} AS old SET {changes} FROM {rows} AS new ({names}) "
    "WHERE old.id = new.id AND old.begun_at = new.begun_at "
    "AND old.begun_at BETWEEN {first} AND {last} AND old.status IN ('running', 'interrupted')"
)


@dataclass(frozen=True, slots=True)
class Written:
    """How much of it was new."""

    num_inferences: int = 0
    num_unmatched: int = 0
    """Ends of inferences that never began, or that had ended before."""
    num_feedback: int = 0

    def __add__(self, other: "Written") -> "Written":
        return Written(
            self.num_inferences + other.num_inferences,
            self.num_unmatched + other.num_unmatched,
            self.num_feedback + other.num_feedback,
        )


async def write_rows(session: AsyncSession, rows: Rows) -> Written:
    """Write them within the session's transaction; what is there already stays as it is.

    Raises:
        sqlalchemy.exc.DBAPIError: PostgreSQL refuses one of them, and with it all.
    """
    # An inference whose end is here too is written once, as it ended.
    begun = [begin | rows.ends.get(begin["id"], {}) for begin in rows.begins]
    inserted = set(await _insert(session, "strop_inference", begun))
    later = [end for inference_id, end in rows.ends.items() if inference_id not in inserted]
    num_finished = await _finish_inferences(session, later)
    given = await _insert(session, "strop_feedback", rows.feedback)
    return Written(len(inserted), len(later) - num_finished, len(given))


async def _insert(session: AsyncSession, name: str, rows: Sequence[Row]) -> list[str]:
    """Insert what is not there yet; return the ids of what was not."""
    if not rows:
        return []
    table = SQLModel.metadata.tables[name]
    columns = list(table.columns)
    statement = sql.SQL(_INSERT).format(
        table=sql.Identifier(name),
        names=_names(columns),
        rows=_unnest(columns, session.get_bind().dialect),
    )
    result = await _execute(session, statement, rows, columns)
    return [row.id for row in result]


async def _finish_inferences(session: AsyncSession, ends: Sequence[Row]) -> int:
    """Give inferences their end, unless they have one; return how many."""
    if not ends:
        return 0
    table = SQLModel.metadata.tables["strop_inference"]
    columns = [column for column in table.columns if column.name in ends[0]]
    changes = [column for column in columns if not column.primary_key]
    times = [end["begun_at"] for end in ends]
    statement = sql.SQL(_FINISH).format(
        table=sql.Identifier(table.name),
        names=_names(columns),
        rows=_unnest(columns, session.get_bind().dialect),
        changes=sql.SQL(", ").join(
            sql.SQL("{0} = new.{0}").format(sql.Identifier(column.name)) for column in changes
        ),
        first=sql.Literal(min(times)),
        last=sql.Literal(max(times)),
    )
    return (await _execute(session, statement, ends, columns)).rowcount


async def _execute(
    session: AsyncSession,
    statement: sql.Composed,
    rows: Sequence[Row],
    columns: Sequence[Column[Any]],
) -> CursorResult[Any]:
    arrays = tuple([row.get(column.name) for row in rows] for column in columns)
    connection = await session.connection()
    return await connection.exec_driver_sql(statement.as_string(), arrays)


def _names(columns: Iterable[Column[Any]]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)


def _unnest(columns: Iterable[Column[Any]], dialect: Dialect) -> sql.Composed:
    # Binary: quoting every quotation mark of every body would cost more than all the rest.
    arrays = [sql.SQL(f"%b::{_type_of(column, dialect)}[]") for column in columns]
    return sql.SQL("unnest({})").format(sql.SQL(", ").join(arrays))


def _type_of(column: Column[Any], dialect: Dialect) -> str:
    """Return the column's type; a text's without its length, for a cast would cut in silence."""
    name = column.type.compile(dialect=dialect)
    return "text" if name.startswith("VARCHAR") else name
