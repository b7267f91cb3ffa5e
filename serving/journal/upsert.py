"""Rows into tables, many at a time, and the same however often they come.

Rows are staged, and one statement does what is to be done with all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql
from sqlalchemy import Table
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.journal.rows import BegunRow, EndedRow, FeedbackRow, Rows, running_row
from serving.journal.staging import stage

_KEY: Final = ("id", "begun_at")
_OF_BEGIN: Final = tuple(name for name in BegunRow._fields if name not in _KEY)
_OF_END: Final = tuple(name for name in EndedRow._fields if name not in _KEY)
_COLUMNS: Final = (*_KEY, *_OF_BEGIN, *_OF_END)
_NOTHING_BEGUN: Final = (None,) * len(_OF_BEGIN)

# What an inference used that has its end now; one that runs on has used nothing yet. Where the
# engine has not said what it used, perhaps because its client hung up before: 4 bytes of text are
# about a token.
_USED = sql.SQL(
    "old.id, old.begun_at, old.key_id, old.alias_id, old.pool, coalesce(old.busy_ms, 0) AS busy_ms, "
    "CASE WHEN coalesce(old.prompt_tokens, old.completion_tokens) IS NOT NULL "
    "THEN greatest(0, coalesce(old.prompt_tokens, 0) + coalesce(old.completion_tokens, 0)) "
    "WHEN old.status IN ('client_aborted', 'ok') THEN (octet_length(old.request::text) "
    "+ coalesce(octet_length(old.response::text), 0)) / 4 ELSE 0 END AS tokens, "
    "old.end_to_end_ms IS NOT NULL AS is_ended"
)
# An inference whose end is here too is written once, as it ended: `begun`. For the others, the
# times name the partitions to look into. An end may come after its worker was given up, but not
# twice: a request that ended as interrupted has its length, one that was given up has none.
# What was used is added up in one order, so that two who add do not wait for each other for ever.
_WRITE_INFERENCES = sql.SQL(
    "WITH begun AS ("
    "INSERT INTO strop_inference AS old ({columns}) SELECT {columns} FROM {staged} "
    "WHERE worker_id IS NOT NULL ON CONFLICT DO NOTHING RETURNING {used}), "
    "finished AS ("
    "UPDATE strop_inference AS old SET {changes} FROM {staged} AS new "
    "WHERE new.end_to_end_ms IS NOT NULL "
    "AND NOT EXISTS (SELECT FROM begun WHERE begun.id = new.id) "
    "AND old.id = new.id AND old.begun_at = new.begun_at "
    "AND old.begun_at BETWEEN {first} AND {last} AND old.end_to_end_ms IS NULL "
    "RETURNING {used}), "
    "written AS (SELECT * FROM begun UNION ALL SELECT * FROM finished), "
    "used AS ("
    "INSERT INTO strop_usage AS old (month, key_id, alias_id, pool, tokens, busy_ms) "
    "SELECT date_trunc('month', begun_at AT TIME ZONE 'UTC')::date AS month, key_id, "
    "coalesce(alias_id, 0) AS alias, pool, sum(tokens), sum(busy_ms) "
    "FROM written WHERE tokens > 0 OR busy_ms > 0 "
    "GROUP BY month, key_id, alias, pool ORDER BY month, key_id, alias, pool "
    "ON CONFLICT (month, key_id, alias_id, pool) DO UPDATE "
    "SET tokens = old.tokens + excluded.tokens, busy_ms = old.busy_ms + excluded.busy_ms) "
    "SELECT (SELECT count(*) FROM begun) AS num_begun, "
    "(SELECT count(*) FROM written WHERE is_ended) AS num_ended"
)
_WRITE_FEEDBACK = sql.SQL(
    "INSERT INTO strop_feedback ({columns}) SELECT {columns} FROM {staged} ON CONFLICT DO NOTHING"
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
        psycopg.Error, sqlalchemy.exc.DBAPIError: PostgreSQL refuses one of them, and with it all.
    """
    num_begun, num_ended = await _write_inferences(session, rows)
    num_feedback = await _write_feedback(session, rows.feedback)
    return Written(num_begun, len(rows.ends) - num_ended, num_feedback)


async def _write_inferences(session: AsyncSession, rows: Rows) -> tuple[int, int]:
    """Return how many inferences are new, and how many have their end now."""
    merged = list(_merged(rows))
    if not merged:
        return 0, 0
    table = _table("strop_inference")
    staged = await stage(session, table, _COLUMNS, merged)
    times = [begun_at for _, begun_at, *_ in merged]
    statement = _WRITE_INFERENCES.format(
        staged=staged,
        columns=_names(_COLUMNS),
        changes=sql.SQL(", ").join(map(_as_it_is_new, _OF_END)),
        first=sql.Literal(min(times)),
        last=sql.Literal(max(times)),
        used=_USED,
    )
    connection = await session.connection()
    found = (await connection.exec_driver_sql(statement.as_string())).one()
    return found.num_begun, found.num_ended


async def _write_feedback(session: AsyncSession, rows: Sequence[FeedbackRow]) -> int:
    """Return how many ratings are new."""
    if not rows:
        return 0
    table = _table("strop_feedback")
    statement = _WRITE_FEEDBACK.format(
        staged=await stage(session, table, FeedbackRow._fields, rows),
        columns=_names(FeedbackRow._fields),
    )
    connection = await session.connection()
    return (await connection.exec_driver_sql(statement.as_string())).rowcount


def _merged(rows: Rows) -> Iterable[tuple[Any, ...]]:
    """Yield begins, each with its end if that is here, and the ends of inferences begun before."""
    for begun in rows.begins:
        ended = rows.ends.get(begun.id) or running_row(begun)
        yield begun + ended[len(_KEY) :]
    begun_here = {begun.id for begun in rows.begins}
    for ended in rows.ends.values():
        if ended.id not in begun_here:
            yield ended[: len(_KEY)] + _NOTHING_BEGUN + ended[len(_KEY) :]


def _table(name: str) -> Table:
    return SQLModel.metadata.tables[name]


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _as_it_is_new(column: str) -> sql.Composed:
    return sql.SQL("{0} = new.{0}").format(sql.Identifier(column))
