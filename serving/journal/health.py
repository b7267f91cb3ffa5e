"""How a journal fares, told from its folder: what waits for ingest, and what could not be stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.journal.reader import age_of_next
from serving.journal.segments import Segment, list_damaged, list_rejected, list_segments
from serving.store import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalHealth:
    """What somebody who looks after Strop should know of a journal."""

    num_unread_bytes: int
    """Bytes that the database has not got yet."""
    lag_seconds: float
    """Age of the oldest inference or rating among them; 0 without any."""
    num_damaged: int
    """Segments that were set aside: from somewhere in their middle on they cannot be read."""
    num_rejected: int
    """Files of records that could not be stored."""


async def read_ingested(session: AsyncSession) -> dict[str, int]:
    """Return, for each segment that is not finished, how many of its bytes the database has."""
    found = select(tables.Segment.name, tables.Segment.num_bytes).where(
        col(tables.Segment.finished_at).is_(None)
    )
    return dict((await session.exec(found)).all())


def look_at(folder: Path, ingested: Mapping[str, int]) -> JournalHealth:
    """Look at a folder, which need not be there yet. Reads the head of one record of each segment that waits.

    Args:
        ingested: name of a segment that is not finished -> its bytes in the database.
    """
    waiting = [
        _waiting(segment, ingested.get(segment.path.name, 0))
        for segment in (list_segments(folder) if folder.exists() else ())
    ]
    return JournalHealth(
        num_unread_bytes=sum(num_bytes for num_bytes, _ in waiting),
        lag_seconds=max((age for _, age in waiting), default=0.0),
        num_damaged=len(list_damaged(folder)),
        num_rejected=len(list_rejected(folder)),
    )


def _waiting(segment: Segment, offset: int) -> tuple[int, float]:
    """Return how many bytes of a segment wait, and for how many seconds."""
    try:
        num_bytes = segment.path.stat().st_size - offset
        if num_bytes <= 0:
            return 0, 0.0
        return num_bytes, age_of_next(segment, offset)
    except FileNotFoundError:  # ingest has just removed it
        return 0, 0.0
