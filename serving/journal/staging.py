"""Rows on their way into a table: copied into a temporary one, from where SQL takes them.

COPY is the fastest way in: no statement with a parameter per value, and no array per column. It
cannot pass over rows that are there already, so it does not go to the table itself. Whoever may
connect to a database may make temporary tables, unless its owner has taken that from PUBLIC.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import JSON, Boolean, DateTime, Float, Integer, Table
from sqlalchemy.types import TypeEngine
from sqlmodel.ext.asyncio.session import AsyncSession

# As wide as Python's: what a table's column cannot hold is refused when it is moved there, where
# COPY would cut it in silence. Everything else is text until then.
_TYPES: Final[dict[type[TypeEngine[Any]], str]] = {
    Integer: "int8",
    Float: "float8",
    Boolean: "bool",
    DateTime: "timestamptz",
    JSON: "json",
}
_FIND = sql.SQL("SELECT to_regclass('pg_temp.' || {})")
# Made once per connection, empty after each transaction.
_CREATE = sql.SQL("CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT DELETE ROWS")
# Long bodies are compressed where they stay: to try it here too would take longer than all else.
_PLAIN = sql.SQL("ALTER TABLE {name} ALTER COLUMN {column} SET STORAGE EXTERNAL")
# Of an earlier call in this transaction.
_EMPTY = sql.SQL("DELETE FROM {name}")
_COPY = sql.SQL("COPY {name} FROM STDIN (FORMAT BINARY)")


async def stage(
    session: AsyncSession, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> sql.Identifier:
    """Return a temporary table that holds `rows`, until the transaction ends or the next call.

    Args:
        table: where they are to go.
        columns: which of its columns a row's values are of, in their order.

    Raises:
        psycopg.Error: PostgreSQL refuses one of them, and with it all.
    """
    name = f"staged_{table.name}"
    staged = sql.Identifier(name)
    types = {column: _type_of(table, column) for column in columns}
    connection = await _psycopg_connection(session)
    found = await connection.execute(_FIND.format(name))
    if await found.fetchone() == (None,):
        await _create(connection, staged, types)
    await connection.execute(_EMPTY.format(name=staged))
    async with connection.cursor().copy(_COPY.format(name=staged)) as copy:
        # On the wire, json is its text; psycopg would make JSON of it once more.
        copy.set_types([kind.replace("json", "text") for kind in types.values()])
        try:
            for row in rows:
                await copy.write_row(row)
        except OverflowError as error:
            raise psycopg.DataError(f"a number is too large: {error}") from error
    return staged


async def _create(
    connection: psycopg.AsyncConnection[Any], staged: sql.Identifier, types: Mapping[str, str]
) -> None:
    columns = sql.SQL(", ").join(
        sql.SQL("{} " + kind).format(sql.Identifier(column)) for column, kind in types.items()
    )
    await connection.execute(_CREATE.format(name=staged, columns=columns))
    for column in (column for column, kind in types.items() if kind == "json"):
        await connection.execute(_PLAIN.format(name=staged, column=sql.Identifier(column)))


def _type_of(table: Table, column: str) -> str:
    found = table.columns[column].type
    return next((name for kind, name in _TYPES.items() if isinstance(found, kind)), "text")


async def _psycopg_connection(session: AsyncSession) -> psycopg.AsyncConnection[Any]:
    connection = await session.connection()
    pooled = await connection.get_raw_connection()
    driver = pooled.driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    return driver
