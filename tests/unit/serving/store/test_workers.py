"""What processes last said: reports replace each other, the silent count as gone."""

from datetime import timedelta

from serving.store.database import Database
from serving.store.tables import GatewayWorker, Replica, utc_now
from serving.store.workers import (
    forget_dead_workers,
    list_live_workers,
    list_replicas,
    remove_worker,
    report_replicas,
    report_worker,
)


async def test_a_report_replaces_the_one_before(database: Database) -> None:
    """There is one row per gateway worker: its newest word."""
    now = utc_now()
    for revision in (1, 2):
        async with database.session() as session:
            await report_worker(
                session,
                GatewayWorker(
                    id="host-1-a", host="host", pid=1, revision=revision, in_flight={"a-v1": 2}
                ),
            )
    async with database.session() as session:
        [worker] = await list_live_workers(session, now)
    assert (worker.revision, worker.in_flight) == (2, {"a-v1": 2})


async def test_the_silent_and_the_stopped_count_as_gone(database: Database) -> None:
    """15 seconds without a word, or a clean stop; a day later the row goes too."""
    now = utc_now()
    ages = {"fresh": 1, "slow": 14, "silent": 16, "ancient": 90_000, "stopped": 1}
    async with database.session() as session:
        for name, age in ages.items():
            seen_at = now - timedelta(seconds=age)
            await report_worker(
                session, GatewayWorker(id=name, host="h", pid=1, revision=1, seen_at=seen_at)
            )
        await remove_worker(session, "stopped")
        live = await list_live_workers(session, now)
        assert [worker.id for worker in live] == ["fresh", "slow"]
        await forget_dead_workers(session, now)
        rest = await list_live_workers(session, now - timedelta(days=2))
    assert [worker.id for worker in rest] == ["fresh", "silent", "slow"]


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


def _replica(url: str, *, is_healthy: bool) -> Replica:
    return Replica(url=url, pool="small", is_healthy=is_healthy, adapters=["support-v1"])
