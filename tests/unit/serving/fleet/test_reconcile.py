"""The reconciler: every replica gets what it ought to hold, and loses only what nobody uses."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from serving.fleet.adapters import adapter_path
from serving.fleet.engine import UPSTREAM_LOOK_SECONDS
from serving.fleet.memory import MemoryEngine
from serving.fleet.reconcile import reconcile
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.store.catalog import load_catalog
from serving.store.database import Database
from serving.store.tables import Adapter, Alias, GatewayWorker, Replica, utc_now
from serving.store.workers import list_replicas
from serving.types import PoolKind
from tests.walks import AddRelease, Engines, Walks

Serve = Callable[[], Awaitable[Adapter]]


@pytest.fixture
def serve_next(
    database: Database,
    settings: Settings,
    engines: Engines,
    alias: Alias,
    add_release: AddRelease,
) -> Serve:
    """Import another adapter and promote it; give its row."""

    walks = Walks(database, settings, engines, alias)

    async def serve() -> Adapter:
        adapter, release = await add_release()
        await walks.promote(release.number)
        return adapter

    return serve


async def _replicas(database: Database) -> dict[str, Replica]:
    async with database.session() as session:
        return {replica.url: replica for replica in await list_replicas(session)}


async def _say(database: Database, *, revision: int, in_flight: dict[str, int], age: float) -> None:
    async with database.session() as session:
        worker = GatewayWorker(
            id="w",
            host="h",
            pid=1,
            revision=revision,
            in_flight=in_flight,
            seen_at=utc_now() - timedelta(seconds=age),
        )
        await session.merge(worker)


async def _revision(database: Database) -> int:
    async with database.session() as session:
        return (await load_catalog(session)).revision


async def test_a_restarted_engine_gets_its_adapters_back(
    database: Database, settings: Settings, engines: Engines, serve_next: Serve
) -> None:
    """Champion and previous, at the path that it knows; and its row says so."""
    adapters = [await serve_next(), await serve_next()]
    engine, _ = engines["small"]
    engine.restart()
    await reconcile(database, settings, engines)
    pool = settings.pool("small")
    expected = {each.name: adapter_path(settings, pool, each.name) for each in adapters}
    assert await engine.list_adapters() == expected
    seen = (await _replicas(database))[engine.url]
    assert (seen.is_healthy, seen.adapters, seen.error) == (True, sorted(expected), None)
    assert await engines["large"][0].list_adapters() == {}


async def test_a_dead_engine_is_told_and_holds_nobody_up(
    database: Database, settings: Settings, engines: Engines, serve_next: Serve
) -> None:
    """Its row says that it does not answer; the others are put right."""
    adapter = await serve_next()
    dead, other = engines["small"]
    dead.is_down = True
    other.restart()
    await reconcile(database, settings, engines)
    seen = await _replicas(database)
    assert (seen[dead.url].is_healthy, seen[dead.url].error) == (False, "does not answer")
    assert seen[other.url].adapters == [adapter.name]


async def test_one_adapter_that_does_not_load_is_told_and_the_others_do(
    database: Database, settings: Settings, engines: Engines, serve_next: Serve
) -> None:
    """A changed file never reaches an engine: its digest is computed before each load."""
    spoilt, good = await serve_next(), await serve_next()
    (settings.adapter_dir / spoilt.name / "adapter_config.json").write_text("{}")
    engine, _ = engines["small"]
    engine.restart()
    engine.loads.clear()
    await reconcile(database, settings, engines)
    assert engine.loads == [good.name]
    seen = (await _replicas(database))[engine.url]
    assert seen.adapters == [good.name]
    assert seen.error is not None
    assert "adapter_config.json has changed" in seen.error


async def test_an_adapter_that_cannot_be_read_is_told_and_the_others_load(
    database: Database, settings: Settings, engines: Engines, serve_next: Serve
) -> None:
    """A fault of the disk is one adapter's, not every pool's."""
    unreadable, good = await serve_next(), await serve_next()
    config = settings.adapter_dir / unreadable.name / "adapter_config.json"
    config.unlink()
    config.mkdir()
    engine, _ = engines["small"]
    engine.restart()
    await reconcile(database, settings, engines)
    seen = (await _replicas(database))[engine.url]
    assert seen.adapters == [good.name]
    assert f"{unreadable.name} cannot be read" in str(seen.error)


async def test_what_was_before_the_previous_goes_when_nobody_uses_it(
    database: Database, settings: Settings, engines: Engines, serve_next: Serve
) -> None:
    """Not while a live worker has an older catalogue or a request on it; a dead one is not asked."""
    first, second, third = [await serve_next() for _ in range(3)]
    engine, _ = engines["small"]
    revision = await _revision(database)
    for old in (
        {"revision": revision - 1, "in_flight": {}, "age": -600},
        {"revision": revision, "in_flight": {first.name: 1}, "age": -600},
    ):
        await _say(database, **old)
        await reconcile(database, settings, engines)
        assert first.name in await engine.list_adapters()
    await _say(database, revision=revision - 1, in_flight={first.name: 1}, age=60)
    await reconcile(database, settings, engines)
    assert set(await engine.list_adapters()) == {second.name, third.name}
    assert engine.unloads == [first.name]


async def test_a_name_that_is_not_ours_stays(
    database: Database, settings: Settings, engines: Engines, alias: Alias
) -> None:
    """Somebody else's adapter on a shared engine is not for us to unload."""
    engine, _ = engines["small"]
    await engine.load("somebody-elses", "/elsewhere")
    await reconcile(database, settings, engines)
    assert await engine.list_adapters() == {"somebody-elses": "/elsewhere"}


async def test_our_name_with_another_path_is_told_and_left(
    database: Database, settings: Settings, engines: Engines, serve_next: Serve
) -> None:
    """Names are never reused: what such an engine has cached cannot be trusted."""
    adapter = await serve_next()
    engine, _ = engines["small"]
    engine.restart()
    await engine.load(adapter.name, "/elsewhere")
    await reconcile(database, settings, engines)
    assert await engine.list_adapters() == {adapter.name: "/elsewhere"}
    assert "/elsewhere" in str((await _replicas(database))[engine.url].error)


async def test_one_process_reconciles_at_a_time(
    database: Database, settings: Settings, engines: Engines, serve_next: Serve
) -> None:
    """Where somebody is at it already, a pass does nothing."""
    await serve_next()
    engines["small"][0].restart()
    async with database.lock("reconcile"):
        await reconcile(database, settings, engines)
    assert await engines["small"][0].list_adapters() == {}


async def test_an_upstream_is_asked_every_ten_seconds_only(
    database: Database, settings: Settings
) -> None:
    """It is somebody else's and counts what it is asked; what was seen of it stands meanwhile."""
    pools = (PoolSettings(name="far", kind=PoolKind.OPENAI, urls=("https://far",)),)
    far = MemoryEngine("https://far")
    settings = settings.model_copy(update={"pools": pools})
    await reconcile(database, settings, {"far": (far,)})
    far.is_down = True
    await reconcile(database, settings, {"far": (far,)})
    assert (await _replicas(database))[far.url].is_healthy
    async with database.session() as session:
        (seen,) = await list_replicas(session)
        seen.seen_at -= timedelta(seconds=UPSTREAM_LOOK_SECONDS)
    await reconcile(database, settings, {"far": (far,)})
    assert not (await _replicas(database))[far.url].is_healthy
