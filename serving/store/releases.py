"""What an alias has served, serves and may serve; and every flip of its champion."""

from typing import Any

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import InvalidRequestError, NotFoundError
from serving.store.aliases import id_of, lock_alias
from serving.store.database import raise_revision
from serving.store.tables import Adapter, Alias, Promotion, Release


async def create_release(
    session: AsyncSession,
    alias: Alias,
    *,
    pool: str,
    adapter_id: int | None = None,
    system_prompt: str | None = None,
    decoding: dict[str, Any] | None = None,
) -> Release:
    """Add a candidate with the alias's next number; it serves nothing until it is promoted.

    Args:
        pool: whose base model answers; with an adapter, the pool that the adapter was made for.
        adapter_id: None means the base model as it is.
        decoding: request fields used where the client sends none.

    Raises:
        InvalidRequestError: the adapter is not this alias's, or was made for another pool.
        NotFoundError: there is no such alias or adapter.
    """
    locked = await lock_alias(session, id_of(alias))
    if adapter_id is not None:
        await _check_adapter(session, locked, pool, adapter_id)
    release = Release(
        alias_id=id_of(locked),
        number=await _next_number(session, locked),
        pool=pool,
        adapter_id=adapter_id,
        system_prompt=system_prompt,
        decoding=decoding or {},
    )
    session.add(release)
    await session.flush()
    await raise_revision(session)
    return release


async def list_releases(session: AsyncSession, alias: Alias) -> list[Release]:
    """Return the alias's releases, newest first."""
    query = select(Release).where(Release.alias_id == alias.id)
    return list(await session.exec(query.order_by(col(Release.number).desc())))


async def find_release(session: AsyncSession, alias: Alias, number: int) -> Release:
    """Return one release of the alias.

    Raises:
        NotFoundError: it has no release of that number.
    """
    query = select(Release).where(Release.alias_id == alias.id, Release.number == number)
    release = (await session.exec(query)).one_or_none()
    if release is None:
        raise NotFoundError(
            f"Alias {alias.name!r} has no release {number}. "
            f"`strop releases list {alias.name}` shows them."
        )
    return release


async def get_release(session: AsyncSession, release_id: int) -> Release:
    """Return the release that another row points at."""
    return await session.get_one(Release, release_id)


async def list_promotions(session: AsyncSession, alias: Alias) -> list[Promotion]:
    """Return every flip of the alias's champion, newest first."""
    query = select(Promotion).where(Promotion.alias_id == alias.id)
    return list(await session.exec(query.order_by(col(Promotion.id).desc())))


async def _next_number(session: AsyncSession, alias: Alias) -> int:
    query = select(func.max(Release.number)).where(Release.alias_id == alias.id)
    return ((await session.exec(query)).one() or 0) + 1


async def _check_adapter(session: AsyncSession, alias: Alias, pool: str, adapter_id: int) -> None:
    adapter = await session.get(Adapter, adapter_id)
    if adapter is None:
        raise NotFoundError(
            f"There is no adapter with id {adapter_id}. `strop adapters list` shows all."
        )
    if adapter.alias_id != alias.id:
        raise InvalidRequestError(
            f"Adapter {adapter.name} belongs to another alias than {alias.name!r}. "
            f"Import its folder for {alias.name!r} as well.",
            param="adapter_id",
        )
    if adapter.pool != pool:
        raise InvalidRequestError(
            f"Adapter {adapter.name} was made for pool {adapter.pool!r} and cannot be served "
            f"from pool {pool!r}. Name pool {adapter.pool!r}.",
            param="pool",
        )
