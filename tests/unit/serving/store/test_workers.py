"""What processes last said: reports replace each other, the silent count as gone."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from serving.store.database import Database
from serving.store.tables import GatewayWorker, Replica, utc_now
from serving.store.workers import (
    forget_dead_workers,
    list_live_workers,
    list_replicas,
    remove_worker,
    report_replicas,
    report_worker,
    silence_of_worker,
)


async def test_a_report_replaces_the_one_before(database: Database) -> None:
    """There is one row per gateway worker: its newest word."""
    for revision in (1, 2):
        async with database.session() as session:
            await report_worker(session, _worker(revision=revision, in_flight={"a-v1": 2}))
    async with database.session() as session:
        [worker] = await list_live_workers(session)
    assert (worker.revision, worker.in_flight) == (2, {"a-v1": 2})


@pytest.mark.parametrize("wrong_by", [timedelta(hours=-1), timedelta(hours=1)])
async def test_whose_clock_is_wrong_counts_as_live_for_as_long_as_others(
    database: Database, wrong_by: timedelta
) -> None:
    """Only the database's clock says when somebody was seen, here and of replicas."""
    wrong = utc_now() + wrong_by
    async with database.session() as session:
        await report_worker(session, _worker(seen_at=wrong))
        replica = _replica("http://a", is_healthy=True)
        replica.seen_at = wrong
        await report_replicas(session, [replica])
    async with database.session() as session:
        [worker] = await list_live_workers(session)
        silence = await silence_of_worker(session)
    assert abs(worker.seen_at - utc_now()) < timedelta(minutes=5)
    assert silence is not None
    assert timedelta() <= silence < timedelta(minutes=5)


async def test_the_silent_and_the_stopped_count_as_gone(database: Database) -> None:
    """15 seconds without a word, or a clean stop; a day later the row goes too."""
    ages = {"fresh": 1, "slow": 5, "silent": 16, "ancient": 90_000, "stopped": 1}
    async with database.session() as session:
        for name, age in ages.items():
            session.add(_worker(id=name, seen_at=utc_now() - timedelta(seconds=age)))
        await session.flush()
        await remove_worker(session, "stopped")
        live = await list_live_workers(session)
        assert [worker.id for worker in live] == ["fresh", "slow"]
        await forget_dead_workers(session)
        rest = await session.exec(select(GatewayWorker.id).order_by(GatewayWorker.id))
    assert list(rest) == ["fresh", "silent", "slow"]


async def test_a_worker_that_never_looked_has_no_silence(database: Database) -> None:
    """Nobody has looked at the engines yet."""
    async with database.session() as session:
        assert await silence_of_worker(session) is None


async def test_replicas_are_what_the_last_pass_saw(database: Database) -> None:
    """An engine that is not configured any more is not shown any more."""
    first = [_replica("http://a", is_healthy=True), _replica("http://b", is_healthy=True)]
    second = [_replica("http://b", is_healthy=False)]
    for replicas in (first, second):
        async with database.session() as session:
            await report_replicas(session, replicas)
    async with database.session() as session:
        assert [(seen.url, seen.is_healthy) for seen in await list_replicas(session)] == [
            ("http://b", False)
        ]


def _worker(**fields: Any) -> GatewayWorker:
    return GatewayWorker(**{"id": "w", "host": "h", "pid": 1, "revision": 1} | fields)


def _replica(url: str, *, is_healthy: bool) -> Replica:
    return Replica(url=url, pool="small", is_healthy=is_healthy, adapters=["support-v1"])
