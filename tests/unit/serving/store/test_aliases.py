"""Aliases: names, tenants, sharing, and the release that a new one begins with."""

import asyncio

import pytest

from serving.errors import (
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    StropError,
)
from serving.settings import Settings
from serving.store.aliases import create_alias, find_alias, list_aliases, set_alias
from serving.store.catalog import load_catalog
from serving.store.database import Database
from serving.store.releases import list_releases
from serving.types import ReleaseState, Task


async def test_a_new_alias_serves_the_base_at_once(database: Database, settings: Settings) -> None:
    """Release 1 is the pool's base model, champion, without an adapter."""
    async with database.session() as session:
        alias = await create_alias(
            session,
            settings,
            name="support",
            tenant="acme",
            task=Task.CHAT,
            pool="large",
            system_prompt="Be brief.",
        )
        [release] = await list_releases(session, alias)
        catalog = await load_catalog(session)
    assert (release.number, release.state) == (1, ReleaseState.CHAMPION)
    found = catalog.alias_for("acme", "support")
    assert found is not None
    assert (found.champion.pool, found.champion.adapter) == ("large", None)
    assert found.champion.system_prompt == "Be brief."
    assert (found.challenger, found.previous, catalog.revision) == (None, None, 1)


async def test_the_first_pool_is_the_default(database: Database, settings: Settings) -> None:
    """Nobody with one pool has to name it; an unknown one is refused by name."""
    async with database.session() as session:
        alias = await create_alias(session, settings, name="support", tenant="acme", task=Task.CHAT)
        [release] = await list_releases(session, alias)
        assert release.pool == "small"
        with pytest.raises(ConfigurationError, match="small, large"):
            await create_alias(
                session, settings, name="other", tenant="acme", task=Task.CHAT, pool="huge"
            )


@pytest.mark.parametrize(
    "name", ["", "a@1", "Support", "-a", ".hidden", "../up", "a/b", "a" * 64, "a\n", "ä"]
)
async def test_names_that_could_mislead_are_refused(
    database: Database, settings: Settings, name: str
) -> None:
    """A name stands in URLs, folder names and `name@number`: nothing else may look like it."""
    async with database.session() as session:
        with pytest.raises(InvalidRequestError, match="cannot be the name of a alias"):
            await create_alias(session, settings, name=name, tenant="acme", task=Task.CHAT)
        with pytest.raises(InvalidRequestError, match="cannot be the name of a tenant"):
            await create_alias(session, settings, name="good", tenant=name, task=Task.CHAT)


async def test_an_alias_is_never_called_like_a_base_model(
    database: Database, settings: Settings
) -> None:
    """Else a request could be answered by the one or by the other."""
    async with database.session() as session:
        with pytest.raises(InvalidRequestError, match="pool 'large'"):
            await create_alias(session, settings, name="base-large", tenant="acme", task=Task.CHAT)


async def test_a_name_is_taken_per_tenant(database: Database, settings: Settings) -> None:
    """Two tenants may use one name; one tenant may not use it twice."""
    async with database.session() as session:
        for tenant in ("acme", "other"):
            await create_alias(session, settings, name="support", tenant=tenant, task=Task.CHAT)
        with pytest.raises(ConflictError, match="already"):
            await create_alias(session, settings, name="support", tenant="acme", task=Task.CHAT)
        own = await find_alias(session, "support", "acme")
        assert own.tenant == "acme"
        assert [alias.tenant for alias in await list_aliases(session)] == ["acme", "other"]
        assert [alias.tenant for alias in await list_aliases(session, "other")] == ["other"]
        with pytest.raises(NotFoundError, match="strop aliases create"):
            await find_alias(session, "support", "third")


async def test_a_shared_name_is_shared_once(database: Database, settings: Settings) -> None:
    """A third tenant could not tell two shared aliases of one name apart."""
    async with database.session() as session:
        await create_alias(
            session, settings, name="support", tenant="acme", task=Task.CHAT, is_shared=True
        )
        with pytest.raises(ConflictError, match="shares"):
            await create_alias(
                session, settings, name="support", tenant="other", task=Task.CHAT, is_shared=True
            )
        private = await create_alias(
            session, settings, name="support", tenant="other", task=Task.CHAT
        )
        with pytest.raises(ConflictError, match="shares"):
            await set_alias(session, private, is_shared=True)


async def test_setting_changes_what_is_given(database: Database, settings: Settings) -> None:
    """None leaves a value; every change is a new revision."""
    async with database.session() as session:
        alias = await create_alias(session, settings, name="support", tenant="acme", task=Task.CHAT)
        await set_alias(session, alias, is_shared=True)
        await set_alias(session, alias, task=Task.CLASSIFY)
        catalog = await load_catalog(session)
    found = catalog.alias_for("anybody", "support")
    assert found is not None
    assert (found.task, found.is_shared, catalog.revision) == (Task.CLASSIFY, True, 3)


async def test_of_many_that_want_a_name_one_gets_it(database: Database, settings: Settings) -> None:
    """A race for a name ends in one alias and clear refusals, never in a database error."""

    async def create() -> str:
        try:
            async with database.session() as session:
                await create_alias(session, settings, name="support", tenant="acme", task=Task.CHAT)
        except StropError as error:
            return error.code
        return "made"

    outcomes = await asyncio.gather(*(create() for _ in range(8)))
    assert sorted(outcomes) == ["conflict"] * 7 + ["made"]
