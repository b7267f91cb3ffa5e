"""Releases: what `strop releases`, `promote` and `rollback` and their routes do and say."""

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from gateway.operations.resources import Json, Resources
from serving.fleet import swap
from serving.store import aliases, releases
from serving.store.tables import Adapter, Alias, Promotion, Release


async def list_releases(resources: Resources, name: str, tenant: str) -> Json:
    """Return an alias's releases, newest first, and the numbers of those that it holds."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        rows = await releases.list_releases(session, alias)
        described = await describe_releases(session, rows)
    numbers = {row.id: row.number for row in rows}
    return {
        "alias": alias.name,
        "tenant": alias.tenant,
        "champion": numbers.get(alias.champion_id),
        "challenger": numbers.get(alias.challenger_id),
        "previous": numbers.get(alias.previous_id),
        "releases": described,
    }


async def show_release(resources: Resources, name: str, tenant: str, number: int) -> Json:
    """Return one release, with the flips that it took part in."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        release = await releases.find_release(session, alias, number)
        (described,) = await describe_releases(session, [release])
        flips = [
            flip
            for flip in await releases.list_promotions(session, alias)
            if release.id in (flip.from_release_id, flip.to_release_id)
        ]
        promotions = await describe_promotions(session, alias, flips)
    return {"alias": alias.name, "tenant": alias.tenant, **described, "promotions": promotions}


async def promote(
    resources: Resources,
    name: str,
    tenant: str,
    number: int,
    *,
    actor: str,
    reason: str | None,
    is_forced: bool,
) -> Json:
    """Make a release the champion: loaded and proved on every replica before the flip.

    Raises:
        InvalidRequestError: forced without a reason; or not forced, and its gate has not passed it
            against the present champion.
    """
    alias, alias_id = await _find(resources, name, tenant)
    promotion = await swap.promote(
        resources.database,
        resources.settings,
        resources.engines,
        alias_id,
        number,
        actor=actor,
        reason=reason or "",
        is_forced=is_forced,
    )
    return await _describe_flip(resources, alias, promotion)


async def rollback(
    resources: Resources, name: str, tenant: str, *, actor: str, reason: str | None
) -> Json:
    """Put the former champion back; doing it twice undoes it."""
    alias, alias_id = await _find(resources, name, tenant)
    promotion = await swap.rollback(
        resources.database,
        resources.settings,
        resources.engines,
        alias_id,
        actor=actor,
        reason=reason or "rolled back by hand",
    )
    return await _describe_flip(resources, alias, promotion)


async def describe_releases(session: AsyncSession, rows: list[Release]) -> list[Json]:
    """Return releases as callers see them, each with its adapter's name."""
    wanted = {row.adapter_id for row in rows if row.adapter_id is not None}
    found = await session.exec(select(Adapter).where(col(Adapter.id).in_(wanted)))
    names = {adapter.id: adapter.name for adapter in found}
    return [
        {
            "number": row.number,
            "state": row.state.value,
            "pool": row.pool,
            "adapter": names.get(row.adapter_id),
            "system_prompt": row.system_prompt,
            "decoding": row.decoding,
            "created_at": row.created_at.isoformat(),
        }
        for row in rows
    ]


async def describe_promotions(
    session: AsyncSession, alias: Alias, rows: list[Promotion]
) -> list[Json]:
    """Return flips as callers see them: release numbers instead of row ids."""
    numbers = {row.id: row.number for row in await releases.list_releases(session, alias)}
    return [
        {
            "from": numbers.get(row.from_release_id),
            "to": numbers[row.to_release_id],
            "is_rollback": row.is_rollback,
            "is_forced": row.is_forced,
            "reason": row.reason,
            "actor": row.actor,
            "revision": row.revision,
            "at": row.at.isoformat(),
        }
        for row in rows
    ]


async def _find(resources: Resources, name: str, tenant: str) -> tuple[Alias, int]:
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
    return alias, aliases.id_of(alias)


async def _describe_flip(resources: Resources, alias: Alias, promotion: Promotion) -> Json:
    async with resources.database.session() as session:
        (described,) = await describe_promotions(session, alias, [promotion])
    return {"alias": alias.name, "tenant": alias.tenant, **described}
