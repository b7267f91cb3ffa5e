"""How many tokens were used: written by ingest, read by budgets and `strop status`."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.routing.catalog import MonthlyUsage, month_number
from serving.store.access import Key, Usage
from serving.store.tables import Alias, utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasUsage:
    """What was used of one alias in one pool this month."""

    alias_id: int
    """0: the base model."""
    pool: str
    tokens: int
    busy_ms: float


async def usage_of_month(session: AsyncSession) -> MonthlyUsage:
    """Return what was used this month of everything that has a budget."""
    now = utc_now()
    month = first_day(now)
    total = func.sum(Usage.tokens)
    keys = (
        select(Usage.key_id, total)
        .join(Key, col(Key.id) == Usage.key_id)
        .where(Usage.month == month, col(Key.budget).is_not(None))
        .group_by(col(Usage.key_id))
    )
    aliases = (
        select(Usage.alias_id, total)
        .join(Alias, col(Alias.id) == Usage.alias_id)
        .where(Usage.month == month, col(Alias.budget).is_not(None))
        .group_by(col(Usage.alias_id))
    )
    return MonthlyUsage(
        month=month_number(now),
        by_key={key_id: int(tokens) for key_id, tokens in await session.exec(keys)},
        by_alias={alias_id: int(tokens) for alias_id, tokens in await session.exec(aliases)},
    )


async def tokens_by_key(session: AsyncSession) -> dict[str, int]:
    """Return key id -> tokens that it used this month."""
    query = (
        select(Usage.key_id, func.sum(Usage.tokens))
        .where(Usage.month == first_day(utc_now()))
        .group_by(col(Usage.key_id))
    )
    return {key_id: int(tokens) for key_id, tokens in await session.exec(query)}


async def tokens_of_key(session: AsyncSession, key_id: str) -> int:
    """Return the tokens that one key used this month."""
    query = select(func.sum(Usage.tokens)).where(
        Usage.month == first_day(utc_now()), Usage.key_id == key_id
    )
    return int((await session.exec(query)).one() or 0)


async def usage_by_alias(session: AsyncSession) -> list[AliasUsage]:
    """Return what was used this month, per alias and pool."""
    query = (
        select(Usage.alias_id, Usage.pool, func.sum(Usage.tokens), func.sum(Usage.busy_ms))
        .where(Usage.month == first_day(utc_now()))
        .group_by(col(Usage.alias_id), col(Usage.pool))
        .order_by(col(Usage.alias_id), col(Usage.pool))
    )
    return [
        AliasUsage(alias_id=alias_id, pool=pool, tokens=int(tokens), busy_ms=float(busy_ms))
        for alias_id, pool, tokens, busy_ms in await session.exec(query)
    ]


def first_day(moment: datetime) -> date:
    """Return the first day of the month, UTC."""
    return moment.astimezone(UTC).date().replace(day=1)
