"""What `strop up` waits for: every champion proved, or known not to come."""

import socket
from datetime import timedelta
from typing import Any

import pytest

from gateway.command.lookout import judge, open_lookout
from serving.routing.catalog import Alias, Catalog, Release
from serving.sections import EngineSettings, PoolSettings
from serving.settings import Settings
from serving.store.aliases import create_alias
from serving.store.database import Database
from serving.store.tables import GatewayWorker, Replica, utc_now
from serving.store.workers import report_replicas, report_worker
from serving.types import Task

A = "support-v1-00000000"
URL = "http://far"
FAR = Settings(engine=EngineSettings(urls=(URL,)))
HERE = Settings(engine=EngineSettings(port=8100))
OWN = "http://127.0.0.1:8100"


def catalog(pool: str = "default", adapter: str | None = A) -> Catalog:
    """A catalogue with one alias."""
    champion = Release(id=1, number=1, pool=pool, adapter=adapter)
    alias = Alias(id=1, tenant="t", name="support", task=Task.CHAT, champion=champion)
    return Catalog(revision=7, aliases={("t", "support"): alias})


def worker(**fields: Any) -> GatewayWorker:
    """A gateway worker of this machine that knows the newest catalogue."""
    row = {"id": "w", "host": socket.gethostname(), "pid": 1, "revision": 7, "proved": {URL: [A]}}
    return GatewayWorker(**row | fields)


def replica(url: str = URL, **fields: Any) -> Replica:
    """A replica in good health."""
    return Replica(**{"url": url, "pool": "default", "is_healthy": True} | fields)


def test_a_champion_is_awaited_until_it_is_proved() -> None:
    """Healthy engines are not enough: the alias would answer 503."""
    base, alias = "base model base", "alias support of t"
    assert judge(FAR, catalog(), [], []).awaited == (base, alias)
    assert judge(FAR, catalog(), [worker(proved={URL: []})], [replica()]).awaited == (alias,)
    assert judge(FAR, catalog(), [worker()], []).awaited == ()


def test_a_champion_that_was_promoted_just_now_has_to_be_adopted() -> None:
    """Its proof is not enough while the worker still routes by the catalogue before."""
    assert judge(FAR, catalog(), [worker(revision=6)], []).awaited


def test_every_worker_has_to_be_there() -> None:
    """A client may meet any of them."""
    two = FAR.model_copy(update={"gateway": FAR.gateway.model_copy(update={"workers": 2})})
    assert judge(two, catalog(), [worker()], []).awaited
    assert judge(two, catalog(), [worker(), worker(id="x", proved={URL: []})], []).awaited
    assert judge(two, catalog(), [worker(), worker(id="x")], []).awaited == ()


@pytest.mark.parametrize(
    ("settings", "seen", "words"),
    [
        (FAR, replica(is_healthy=False, error="does not answer"), "does not answer"),
        (FAR, replica(error="adapter has changed"), "adapter has changed"),
        (HERE, replica(OWN, error="adapter has changed"), "adapter has changed"),
    ],
)
def test_what_will_not_come_is_told_instead(settings: Settings, seen: Replica, words: str) -> None:
    """An engine elsewhere that is away, or one that refuses the adapter."""
    found = judge(settings, catalog(), [worker(proved={seen.url: []})], [seen])
    assert found.awaited == ()
    assert words in found.failed[-1]


def test_an_engine_of_ours_that_does_not_answer_is_starting() -> None:
    """The supervisor sees to the end of one that never comes."""
    starting = replica(OWN, is_healthy=False, error="does not answer")
    assert len(judge(HERE, catalog(), [worker(proved={})], [starting]).awaited) == 2


def test_one_good_replica_is_enough() -> None:
    """A pool is known bad only when every replica is."""
    pool = PoolSettings(name="default", urls=(URL, "http://other"))
    settings = Settings(pools=(pool,))
    bad = replica(is_healthy=False, error="does not answer")
    assert judge(settings, catalog(), [worker(proved={"http://other": [A]})], [bad]) == judge(
        settings, Catalog(), [worker()], []
    )


def test_a_pool_that_is_not_configured_is_told() -> None:
    """Nothing will come of it."""
    (failed,) = judge(FAR, catalog(pool="gone"), [worker()], [replica()]).failed
    assert "support" in failed
    assert "gone" in failed


async def test_a_start_believes_only_its_own_processes(
    database: Database,
) -> None:
    """Rows of a gateway that was killed seconds ago, or of another machine, say nothing."""
    async with database.session() as session:
        await create_alias(session, FAR, name="support", tenant="t", task=Task.CHAT)
        session.add(worker(id="killed", revision=99, seen_at=utc_now() - timedelta(seconds=2)))
    async with open_lookout(FAR, database.url) as lookout:
        assert not await lookout.is_settled()
        async with database.session() as session:
            await report_worker(session, worker(id="other", revision=99, host="elsewhere"))
        assert not await lookout.is_settled()
        assert "support" in " ".join(lookout.complaints())
        async with database.session() as session:
            await report_worker(session, worker(id="ours", revision=99, proved={URL: []}))
        assert await lookout.is_settled()
        assert list(lookout.complaints()) == []


async def test_a_fault_settles_it_with_a_line(database: Database) -> None:
    """Nobody waits for what a person has to mend."""
    async with open_lookout(FAR, database.url) as lookout:
        async with database.session() as session:
            bad = replica(is_healthy=False, error="does not answer")
            await report_replicas(session, [bad])
        assert await lookout.is_settled()
    (line,) = lookout.complaints()
    assert URL in line
