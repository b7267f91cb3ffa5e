"""The catalogue in memory: what is adopted when, and what an outage changes."""

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from gateway.follow import newly_needed
from serving.routing.catalog import Alias, Catalog, Release
from serving.settings import Settings
from serving.store.database import Database
from serving.store.workers import list_live_workers
from serving.types import Task
from tests.gateway import (
    Gateway,
    is_well,
    make_alias,
    make_key,
    make_settings,
    promote_adapter,
    running_gateway,
    until,
)
from tests.upstream_server import FakeEngine

ADAPTER = "support-v1-aaaaaaaa"
NEXT = "support-v2-bbbbbbbb"
_MOST_CONNECTIONS = 15
"""What a `Database` opens at once: its pool of 5, and 10 that SQLAlchemy adds."""


def catalog(*adapters: str | None) -> Catalog:
    """Return a catalogue whose aliases' champions are these adapters."""
    aliases = [
        Alias(
            id=number,
            tenant="t",
            name=f"a{number}",
            task=Task.CHAT,
            champion=Release(id=number, number=1, pool="p", adapter=adapter),
        )
        for number, adapter in enumerate(adapters)
    ]
    return Catalog(aliases={(alias.tenant, alias.name): alias for alias in aliases})


def test_only_new_champions_have_to_be_proved() -> None:
    """The base needs no proof, and what serves already is proved or it is too late."""
    assert newly_needed(catalog("x", None), catalog("x", "y")) == {"p": {"y"}}
    assert newly_needed(catalog("x", "y"), catalog("x", None)) == {}


async def test_aliases_wait_for_proof_and_keys_do_not(
    gateway: Gateway, engine: FakeEngine, settings: Settings, database: Database
) -> None:
    """Until the new champion is proved here, the old one serves; a new key works at once."""
    follower = gateway.runtime.follower
    follower.prove_seconds = 60
    alias_id = await make_alias(database, settings, "support")
    await until(lambda: bool(follower.catalog.aliases))
    revision = follower.catalog.revision
    await promote_adapter(database, settings, alias_id, ADAPTER)  # loaded nowhere
    key = await make_key(database)
    await until(lambda: follower.catalog.principal_of(key) is not None)
    assert follower.catalog.revision == revision
    assert gateway.runtime.prover.champions == {ADAPTER}  # probed before all others
    assert (await gateway.chat(model="support")).headers["x-strop-adapter"] == "base"
    engine.adapters[ADAPTER] = f"{settings.adapter_dir}/{ADAPTER}"
    await until(lambda: follower.catalog.revision > revision)
    assert (await gateway.chat(model="support")).headers["x-strop-adapter"] == ADAPTER


async def test_a_champion_that_is_proved_outlasts_one_that_is_not(
    gateway: Gateway, engine: FakeEngine, settings: Settings, database: Database
) -> None:
    """Time is up and the new champion is still unproved: the old one serves on, other news count."""
    follower = gateway.runtime.follower
    follower.prove_seconds = 0.2
    alias_id = await make_alias(database, settings, "support")
    await promote_adapter(database, settings, alias_id, ADAPTER, engine)
    await until(lambda: champions(gateway) == {"support": ADAPTER})
    revision = follower.catalog.revision
    await promote_adapter(database, settings, alias_id, NEXT)  # loaded nowhere
    await until(lambda: 'strop_failures_total{where="proof"} 1.0' in failures(gateway))
    await make_alias(database, settings, "other")
    await until(lambda: champions(gateway) == {"support": ADAPTER, "other": None})
    assert (await gateway.chat(model="support")).headers["x-strop-adapter"] == ADAPTER
    assert follower.catalog.revision == revision
    engine.adapters[NEXT] = f"{settings.adapter_dir}/{NEXT}"
    await until(lambda: champions(gateway) == {"support": NEXT, "other": None})
    await until(lambda: follower.catalog.revision > revision)


async def test_when_neither_is_proved_the_new_champion_counts(
    gateway: Gateway, engine: FakeEngine, settings: Settings, database: Database
) -> None:
    """When time is up and the old one is gone too, it is 503 rather than another model."""
    gateway.runtime.follower.prove_seconds = 0.2
    alias_id = await make_alias(database, settings, "support")
    await promote_adapter(database, settings, alias_id, ADAPTER, engine)
    await until(lambda: champions(gateway) == {"support": ADAPTER})
    await promote_adapter(database, settings, alias_id, NEXT)
    await until(lambda: 'strop_failures_total{where="proof"} 1.0' in failures(gateway))
    engine.adapters.clear()
    await until(lambda: champions(gateway) == {"support": NEXT})
    assert (await gateway.chat(model="support")).status == 503


def champions(gateway: Gateway) -> dict[str, str | None]:
    """Return what this worker routes each alias to."""
    aliases = gateway.runtime.follower.catalog.all_aliases
    return {alias.name: alias.champion.adapter for alias in aliases}


def failures(gateway: Gateway) -> str:
    """Return the worker's metrics as text."""
    return gateway.runtime.metrics.render().decode()


async def test_a_lost_connection_is_made_again(gateway: Gateway, database: Database) -> None:
    """Traffic goes on with the last catalogue; afterwards news arrive again."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert (await gateway.chat()).status == 200
    await database.engine.dispose()
    key = await make_key(database)
    await until(lambda: gateway.runtime.catalog.principal_of(key) is not None)


async def test_operators_starve_neither_news_nor_heartbeat(
    gateway: Gateway, database: Database
) -> None:
    """While their calls hold every connection, a new key works, and the worker's row stays fresh."""
    async with AsyncExitStack() as calls:
        for _ in range(_MOST_CONNECTIONS):
            await calls.enter_async_context(gateway.runtime.database.engine.connect())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), gateway.runtime.database.engine.connect():
                pass
        key = await make_key(database)
        await until(lambda: gateway.runtime.catalog.principal_of(key) is not None)
        first = last = await last_beat(database)
        while last == first:
            last = await last_beat(database)


async def last_beat(database: Database) -> datetime:
    """Return when the only gateway worker has last reported, once it has."""
    while True:
        async with database.session() as session:
            for worker in await list_live_workers(session):
                return worker.seen_at
        await asyncio.sleep(0.05)


async def test_a_catalogue_that_cannot_be_understood_stops_no_news(
    gateway: Gateway, settings: Settings, database: Database
) -> None:
    """A word from a newer schema is logged and counted; once it is gone, keys are news again."""
    await make_alias(database, settings, "support")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("UPDATE strop_alias SET task = 'dance'")
        connection.execute("NOTIFY strop_catalog")
        await until(lambda: 'strop_failures_total{where="catalog"}' in failures(gateway))
        connection.execute("UPDATE strop_alias SET task = 'chat'")
    key = await make_key(database)
    await until(lambda: gateway.runtime.catalog.principal_of(key) is not None)


async def test_without_a_database_a_fresh_worker_is_503(
    tmp_path: Path, engine: FakeEngine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that were never read are no reason to call a client unknown."""

    async def fail(session: object) -> None:
        raise OSError("no database")

    monkeypatch.setattr("gateway.follow.load_catalog", fail)
    settings = make_settings(tmp_path, engine)
    async with running_gateway(settings, database) as gateway:
        await is_well(gateway)
        answer = await gateway.chat()
        assert (answer.status, answer.error["code"]) == (503, "catalog_not_loaded")


async def test_a_worker_says_what_it_holds_and_leaves_no_row(
    settings: Settings, database: Database
) -> None:
    """The heartbeat tells revision and proofs; a clean stop takes the row away."""
    async with running_gateway(settings, database) as gateway:
        await is_well(gateway)

        async def num_rows() -> int:
            async with database.session() as session:
                return len(await list_live_workers(session))

        rows = 0
        while not rows:
            rows = await num_rows()
    assert await num_rows() == 0
