"""Rows that PostgreSQL refuses, told from those that it takes."""

from collections.abc import Sequence

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.journal.reader import Entry, Reject, rows_of
from serving.journal.upsert import Written, write_rows
from serving.store.database import reason_of


async def write_or_isolate(
    session: AsyncSession, entries: Sequence[Entry], refused: set[str]
) -> tuple[Written, list[Reject]]:
    """Write all, or, where PostgreSQL refuses some, all others: halve until those stand alone.

    Of an inference in `refused` nothing is written; one whose record is refused is added to it.

    Raises:
        psycopg.Error, sqlalchemy.exc.DBAPIError: the server is to blame, and no row.
    """
    orphans, entries = _without_orphans(entries, refused)
    try:
        async with session.begin_nested():
            return await write_rows(session, rows_of(entries)), orphans
    except (DBAPIError, psycopg.Error) as error:
        if not _is_fault_of_data(error):
            raise
        if len(entries) == 1:
            alone = Reject(entries[0].frame, reason_of(error), entries[0].inference_id)
            refused.update(inferences_of([alone]))
            return Written(), [*orphans, alone]
    middle = len(entries) // 2
    first, first_rejects = await write_or_isolate(session, entries[:middle], refused)
    second, second_rejects = await write_or_isolate(session, entries[middle:], refused)
    return first + second, [*orphans, *first_rejects, *second_rejects]


def _without_orphans(
    entries: Sequence[Entry], refused: set[str]
) -> tuple[list[Reject], Sequence[Entry]]:
    """Part the records of inferences in `refused` from all others."""
    if not refused:
        return [], entries
    orphans = [
        Reject(entry.frame, "an earlier record of the same request was not stored", None)
        for entry in entries
        if entry.inference_id in refused
    ]
    return orphans, [entry for entry in entries if entry.inference_id not in refused]


def inferences_of(rejects: Sequence[Reject]) -> set[str]:
    """Return whose records these are, as far as anybody can tell."""
    return {reject.inference_id for reject in rejects if reject.inference_id is not None}


def _is_fault_of_data(error: DBAPIError | psycopg.Error) -> bool:
    """Whether a row is to blame, and not the server: trying again would not help."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    is_over_a_limit = str(getattr(cause, "sqlstate", None)).startswith("54")
    return isinstance(cause, psycopg.DataError | psycopg.IntegrityError) or is_over_a_limit
