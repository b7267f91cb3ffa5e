"""Rows into tables, many at a time, and the same however often they come.

Each statement takes its rows as one array per column (`unnest`): one round trip, one plan, no
limit on parameters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from psycopg import sql
from sqlalchemy import Column, CursorResult, Dialect
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.journal.rows import Row, Rows
from serving.store.access import Usage
from serving.store.usage import add_usage, first_day

_INSERT = (
    "INSERT INTO {table} AS old ({names}) SELECT * FROM {rows} "
    "ON CONFLICT DO NOTHING RETURNING {returned}"
)
# The times name the partitions to look into. An end may come after its worker was given up, but
# not twice: a request that ended as interrupted has its length, one that was given up has none.
_FINISH = (
    "UPDATE {table} AS old SET {changes} FROM {rows} AS new ({names}) "
    "WHERE old.id = new.id AND old.begun_at = new.begun_at "
    "AND old.begun_at BETWEEN {first} AND {last} AND old.end_to_end_ms IS NULL "
    "RETURNING {returned}"
)
_ID: Final = sql.SQL("old.id")
# Where the engine has not said what it used, perhaps because its client hung up before: 4 bytes of
# text are about a token.
_ID_AND_USED: Final = sql.SQL(
    "old.id, old.key_id, old.alias_id, old.pool, old.begun_at, old.busy_ms, "
    "CASE WHEN coalesce(old.prompt_tokens, old.completion_tokens) IS NOT NULL "
    "THEN greatest(0, coalesce(old.prompt_tokens, 0) + coalesce(old.completion_tokens, 0)) "
    "WHEN old.status IN ('client_aborted', 'ok') THEN (octet_length(old.request::text) "
    "+ coalesce(octet_length(old.response::text), 0)) / 4 ELSE 0 END AS tokens"
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
    inserted = await _insert(session, "strop_inference", begun, _ID_AND_USED)
    ids = {row.id for row in inserted}
    later = [end for inference_id, end in rows.ends.items() if inference_id not in ids]
    finished = await _finish_inferences(session, later)
    given = await _insert(session, "strop_feedback", rows.feedback, _ID)
    await add_usage(session, _sum_up([*inserted, *finished]))
    return Written(len(inserted), len(later) - len(finished), len(given))


def _sum_up(ended: Iterable[Any]) -> Iterable[Usage]:
    """Return what inferences used that have their end now; one that runs on has used nothing yet."""
    sums: dict[tuple[date, str, int, str], tuple[int, float]] = {}
    for row in ended:
        if row.tokens or row.busy_ms:
            key = first_day(row.begun_at), row.key_id, row.alias_id or 0, row.pool
            tokens, busy_ms = sums.get(key, (0, 0.0))
            sums[key] = tokens + row.tokens, busy_ms + (row.busy_ms or 0)
    return [
        Usage(
            month=month,
            key_id=key_id,
            alias_id=alias_id,
            pool=pool,
            tokens=tokens,
            busy_ms=busy_ms,
        )
        for (month, key_id, alias_id, pool), (tokens, busy_ms) in sums.items()
    ]


async def _insert(
    session: AsyncSession, name: str, rows: Sequence[Row], returned: sql.SQL
) -> list[Any]:
    """Insert what is not there yet; return this of what was not."""
    if not rows:
        return []
    table = SQLModel.metadata.tables[name]
    columns = list(table.columns)
    statement = sql.SQL(_INSERT).format(
        table=sql.Identifier(name),
        names=_names(columns),
        rows=_unnest(columns, session.get_bind().dialect),
        returned=returned,
    )
    return list(await _execute(session, statement, rows, columns))


async def _finish_inferences(session: AsyncSession, ends: Sequence[Row]) -> list[Any]:
    """Give inferences their end, unless they have one; return what those used."""
    if not ends:
        return []
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
        returned=_ID_AND_USED,
    )
    return list(await _execute(session, statement, ends, columns))


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
