"""Releases: numbered per alias, checked against their adapter, candidates until promoted."""

import asyncio

import pytest

from serving.errors import InvalidRequestError, NotFoundError
from serving.settings import Settings
from serving.store.aliases import create_alias, id_of
from serving.store.database import Database
from serving.store.releases import create_release, find_release, list_promotions, list_releases
from serving.store.tables import Adapter, Alias
from serving.types import ReleaseState, Task


@pytest.fixture
async def alias(database: Database, settings: Settings) -> Alias:
    """An alias with release 1 on pool `small`."""
    async with database.session() as session:
        return await create_alias(
            session, settings, name="support", tenant="acme", task=Task.CHAT, pool="small"
        )


async def test_a_release_is_a_candidate_with_the_next_number(
    database: Database, alias: Alias
) -> None:
    """A prompt-only release is a release like any other; it serves nothing yet."""
    async with database.session() as session:
        made = await create_release(
            session, alias, pool="small", system_prompt="Be kind.", decoding={"temperature": 0}
        )
        found = await find_release(session, alias, 2)
        assert (made.id, made.state) == (found.id, ReleaseState.CANDIDATE)
        assert [release.number for release in await list_releases(session, alias)] == [2, 1]
        assert await list_promotions(session, alias) == []
        with pytest.raises(NotFoundError, match="strop releases list support"):
            await find_release(session, alias, 3)


async def test_numbers_are_given_once(database: Database, alias: Alias) -> None:
    """Releases made at the same moment get different numbers."""

    async def create() -> int:
        async with database.session() as session:
            return (await create_release(session, alias, pool="small")).number

    assert sorted(await asyncio.gather(*(create() for _ in range(8)))) == list(range(2, 10))


async def test_a_release_takes_only_its_own_aliases_adapter(
    database: Database, settings: Settings, alias: Alias
) -> None:
    """An adapter of another alias, of another pool, or of nobody is refused."""
    async with database.session() as session:
        other = await create_alias(session, settings, name="other", tenant="acme", task=Task.CHAT)
        own = _adapter(alias, "support-v1-00000000")
        foreign = _adapter(other, "other-v1-00000000")
        session.add_all([own, foreign])
        await session.flush()
        made = await create_release(session, alias, pool="small", adapter_id=own.id)
        assert made.adapter_id == own.id
        with pytest.raises(InvalidRequestError, match="another alias"):
            await create_release(session, alias, pool="small", adapter_id=foreign.id)
        with pytest.raises(InvalidRequestError, match="Name pool 'small'"):
            await create_release(session, alias, pool="large", adapter_id=own.id)
        with pytest.raises(NotFoundError, match="strop adapters list"):
            await create_release(session, alias, pool="small", adapter_id=10**6)


def _adapter(alias: Alias, name: str) -> Adapter:
    return Adapter(
        alias_id=id_of(alias),
        version=1,
        name=name,
        digest="0" * 64,
        pool="small",
        rank=8,
        num_bytes=1,
        source="test",
    )
