"""The catalogue: one consistent view, read in a few queries however much there is."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.routing.catalog import Alias as RoutedAlias
from serving.routing.catalog import Quota
from serving.settings import Settings
from serving.store import catalog as module
from serving.store.access import Usage
from serving.store.aliases import create_alias, id_of, list_aliases, set_alias
from serving.store.catalog import load_catalog, refresh_catalog
from serving.store.database import Database
from serving.store.keys import create_key
from serving.store.releases import create_release
from serving.store.tables import Adapter, Alias, utc_now
from serving.store.usage import first_day
from serving.types import Role, Task


async def test_an_alias_comes_with_all_its_releases(database: Database, settings: Settings) -> None:
    """Champion, challenger and previous, each with its adapter's name and digest."""
    async with database.session() as session:
        alias = await create_alias(session, settings, name="support", tenant="acme", task=Task.CHAT)
        adapter = Adapter(
            alias_id=id_of(alias),
            version=1,
            name="support-v1-abcdef01",
            digest="abcdef01" * 8,
            pool="small",
            rank=8,
            num_bytes=1,
            source="test",
        )
        session.add(adapter)
        await session.flush()
        tuned = await create_release(
            session, alias, pool="small", adapter_id=adapter.id, decoding={"temperature": 0}
        )
        alias.previous_id, alias.champion_id = alias.champion_id, tuned.id
        alias.challenger_id, alias.canary_percent, alias.canary_revision = tuned.id, 25, 3
    async with database.session() as session:
        found = (await load_catalog(session)).aliases["acme", "support"]
    assert found.champion.adapter == "support-v1-abcdef01"
    assert found.champion.adapter_digest == "abcdef01" * 8
    assert found.champion.decoding == {"temperature": 0}
    assert found.challenger == found.champion
    assert found.previous is not None
    assert (found.previous.number, found.previous.adapter) == (1, None)
    assert (found.canary_percent, found.canary_revision) == (25, 3)


async def test_the_number_of_queries_does_not_grow(database: Database, settings: Settings) -> None:
    """A worker that reloads after every change must not ask once per alias."""

    async def count() -> int:
        async with database.session() as session:
            with _statements(database) as seen:
                await load_catalog(session)
        return len(seen)

    before = await count()
    async with database.session() as session:
        for number in range(12):
            await create_alias(session, settings, name=f"a{number}", tenant="acme", task=Task.CHAT)
            await create_key(session, role=Role.APP, tenant="acme", name="web")
    assert await count() == before <= 8


async def test_a_catalogue_whose_revision_holds_is_not_read_again(
    database: Database, settings: Settings
) -> None:
    """One query tells that it holds; what was used, which raises no revision, is still news."""
    async with database.session() as session:
        known = await load_catalog(session)
        with _statements(database) as seen:
            assert await refresh_catalog(session, known) is known
        assert len(seen) == 1
        key, _ = await create_key(
            session, role=Role.APP, tenant="acme", name="web", quota=Quota(budget=10)
        )
        known = await refresh_catalog(session, known)
        assert [principal.key_id for principal in known.principals.values()] == [key.id]
        month = first_day(utc_now())
        session.add(Usage(month=month, key_id=key.id, alias_id=0, pool="p", tokens=7, busy_ms=0))
        await session.flush()
        found = await refresh_catalog(session, known)
    assert found.principals is known.principals
    assert found.usage.by_key == {key.id: 7}


async def test_a_catalogue_is_of_one_revision(database: Database, settings: Settings) -> None:
    """However changes fall between its queries, a catalogue never shows half of one.

    Every transaction here changes two aliases together, and makes a key; so in every catalogue
    the two agree, and the revision tells how many keys there are.
    """
    async with database.session() as session:
        for name in ("left", "right"):
            await create_alias(session, settings, name=name, tenant="acme", task=Task.CHAT)

    async def change() -> None:
        for number in range(20):
            async with database.session() as session:
                for alias in await list_aliases(session):
                    await set_alias(session, alias, is_shared=bool(number % 2))
                await create_key(session, role=Role.APP, tenant="acme", name="web")

    async def watch() -> int:
        views = 0
        while not changing.done():
            async with database.session() as session:
                catalog = await load_catalog(session)
            left, right = (catalog.aliases["acme", name] for name in ("left", "right"))
            assert left.is_shared == right.is_shared
            assert catalog.revision == 2 + 3 * len(catalog.principals)
            views += 1
        return views

    changing = asyncio.create_task(change())
    assert await watch() > 0
    await changing


async def test_a_catalogue_is_read_however_fast_it_changes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a revoked key would be good for as long as somebody makes others."""

    async def change_and_read(session: AsyncSession) -> list[RoutedAlias]:
        async with database.session() as other:
            await create_key(other, role=Role.APP, tenant="acme", name="web")
        return await read(session)

    read = module._aliases
    monkeypatch.setattr(module, "_aliases", change_and_read)
    async with asyncio.timeout(60), database.snapshot() as session:
        found = await load_catalog(session)
    assert (found.revision, found.principals) == (0, {})
    async with database.snapshot() as session:
        assert (await refresh_catalog(session, found)).revision == 1


async def test_a_catalogue_sees_its_own_transaction(database: Database, settings: Settings) -> None:
    """What a session changed it also reads back, before it commits."""
    async with database.session() as session:
        alias = await create_alias(session, settings, name="support", tenant="acme", task=Task.CHAT)
        alias.canary_percent = 10
        catalog = await load_catalog(session)
        assert catalog.aliases["acme", "support"].canary_percent == 10
        assert (await session.get_one(Alias, alias.id)).canary_percent == 10


@contextmanager
def _statements(database: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        del connection, cursor, rest
        seen.append(statement)

    sync_engine = database.engine.sync_engine
    sqlalchemy.event.listen(sync_engine, "before_cursor_execute", note)
    yield seen
    sqlalchemy.event.remove(sync_engine, "before_cursor_execute", note)
