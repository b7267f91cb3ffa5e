"""What the running processes last said: gateway workers of themselves, the worker of engines.

When that was is told by one clock, the database's: processes run on several machines.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import cache

from sqlalchemy.dialects.postgresql import Insert, insert
from sqlmodel import SQLModel, col, delete, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.store.tables import GatewayWorker, Replica

LIVE_SECONDS = 15.0
"""A gateway worker that has said nothing for this long counts as gone."""
_FORGET = timedelta(days=1)


async def report_worker(session: AsyncSession, worker: GatewayWorker) -> None:
    """Write what a gateway worker says of itself, over what it said before; it is seen now.

    `revision` has to be the one whose *aliases* the worker routes by, and `in_flight` counted
    after it was adopted: an adapter is unloaded on the strength of these two.
    """
    await _write(session, worker)


async def remove_worker(session: AsyncSession, worker_id: str) -> None:
    """Forget a worker that stops in good order: nobody waits for it then."""
    await session.exec(delete(GatewayWorker).where(col(GatewayWorker.id) == worker_id))


async def list_live_workers(session: AsyncSession) -> list[GatewayWorker]:
    """Return the gateway workers that have reported within `LIVE_SECONDS`."""
    since = func.now() - timedelta(seconds=LIVE_SECONDS)
    query = select(GatewayWorker).where(col(GatewayWorker.seen_at) >= since)
    query = query.order_by(GatewayWorker.id).execution_options(populate_existing=True)
    return list(await session.exec(query))


async def forget_dead_workers(session: AsyncSession) -> None:
    """Remove the rows of workers that were killed a day ago or earlier."""
    long_ago = func.now() - _FORGET
    await session.exec(delete(GatewayWorker).where(col(GatewayWorker.seen_at) < long_ago))


async def report_replicas(
    session: AsyncSession, replicas: Sequence[Replica], kept: Collection[str] = ()
) -> None:
    """Write what one pass saw of every engine; engines that it did not see are forgotten.

    Args:
        kept: URLs of engines that it left alone: what was last seen of them stands.
    """
    urls = [*kept, *(replica.url for replica in replicas)]
    await session.exec(delete(Replica).where(col(Replica.url).not_in(urls)))
    for replica in replicas:
        await _write(session, replica)


async def list_replicas(session: AsyncSession) -> list[Replica]:
    """Return what was last seen of every engine, by pool and address."""
    query = select(Replica).order_by(Replica.pool, Replica.url)
    return list(await session.exec(query.execution_options(populate_existing=True)))


async def replicas_seen_within(session: AsyncSession, seconds: float) -> set[str]:
    """Return the URLs of the engines that were looked at in the last `seconds`."""
    since = func.now() - timedelta(seconds=seconds)
    return set(await session.exec(select(Replica.url).where(col(Replica.seen_at) > since)))


async def silence_of_worker(session: AsyncSession) -> timedelta | None:
    """Return how long ago a worker last looked at the engines; None: never."""
    query = select(func.now(), func.max(Replica.seen_at))
    now, seen_at = (await session.exec(query)).one()
    return None if seen_at is None else now - seen_at


async def _write(session: AsyncSession, row: SQLModel) -> None:
    await session.exec(_upsert_of(type(row)), params=row.model_dump(exclude={"seen_at"}))


@cache
def _upsert_of(kind: type[SQLModel]) -> Insert:
    """Return the statement that writes a row over the one of its key. Made once: beats are many."""
    table = SQLModel.metadata.tables[str(kind.__tablename__)]
    fresh = insert(table).values(seen_at=func.now())
    changes = {column.name: fresh.excluded[column.name] for column in table.columns}
    return fresh.on_conflict_do_update(index_elements=list(table.primary_key), set_=changes)
