"""Aliases: what `strop aliases` and `/api/aliases` do and say."""

from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from gateway.operations.releases import describe_promotions, describe_releases
from gateway.operations.resources import Json, Resources
from retrain.periods import check_schedule
from serving.store import aliases as store
from serving.store import releases
from serving.store.tables import Alias, Release
from serving.types import Task


async def create_alias(
    resources: Resources,
    *,
    name: str,
    tenant: str,
    task: Task,
    pool: str | None = None,
    system_prompt: str | None = None,
    is_shared: bool = False,
) -> Json:
    """Make an alias; its release 1, the pool's base model, serves at once."""
    async with resources.database.session() as session:
        alias = await store.create_alias(
            session,
            resources.settings,
            name=name,
            tenant=tenant,
            task=task,
            pool=pool,
            system_prompt=system_prompt,
            is_shared=is_shared,
        )
        return await describe_alias(session, alias)


async def list_aliases(resources: Resources, *, tenant: str | None = None) -> Json:
    """Return every alias, or those of one tenant."""
    async with resources.database.session() as session:
        rows = await store.list_aliases(session, tenant)
        return {"aliases": await describe_aliases(session, rows)}


async def show_alias(resources: Resources, name: str, tenant: str) -> Json:
    """Return one alias with every flip of its champion, newest first."""
    async with resources.database.session() as session:
        alias = await store.find_alias(session, name, tenant)
        promotions = await releases.list_promotions(session, alias)
        return {
            **await describe_alias(session, alias),
            "promotions": await describe_promotions(session, alias, promotions),
        }


async def set_alias(
    resources: Resources,
    name: str,
    tenant: str,
    *,
    task: Task | None = None,
    is_shared: bool | None = None,
    schedule: str | None = None,
    zone: str | None = None,
    budget: int | None = None,
) -> Json:
    """Change what is given; what an alias serves changes by releases only."""
    async with resources.database.session() as session:
        alias = await store.find_alias(session, name, tenant)
        if schedule is not None or zone is not None:
            check_schedule(schedule or alias.schedule, zone or alias.time_zone)
        changed = await store.set_alias(
            session,
            alias,
            task=task,
            is_shared=is_shared,
            schedule=schedule,
            time_zone=zone,
            budget=budget,
        )
        return await describe_alias(session, changed)


async def pause_alias(resources: Resources, name: str, tenant: str, *, is_paused: bool) -> Json:
    """Let nothing be trained by itself any more, or again. What runs runs on; answers go on."""
    async with resources.database.session() as session:
        alias = await store.find_alias(session, name, tenant)
        changed = await store.set_alias(session, alias, is_paused=is_paused)
        return await describe_alias(session, changed)


async def describe_alias(session: AsyncSession, alias: Alias) -> Json:
    """Return one alias as callers see it."""
    (described,) = await describe_aliases(session, [alias])
    return described


async def describe_aliases(session: AsyncSession, rows: list[Alias]) -> list[Json]:
    """Return aliases as callers see them, with the releases that they hold."""
    held: list[Any] = [id_ for row in rows for id_ in _held(row)]
    found = list(await session.exec(select(Release).where(col(Release.id).in_(held))))
    described = dict(
        zip([row.id for row in found], await describe_releases(session, found), strict=True)
    )
    return [
        {
            "name": row.name,
            "tenant": row.tenant,
            "task": row.task.value,
            "is_shared": row.is_shared,
            "champion": described.get(row.champion_id),
            "challenger": described.get(row.challenger_id),
            "previous": described.get(row.previous_id),
            "canary_percent": row.canary_percent,
            "schedule": row.schedule,
            "time_zone": row.time_zone,
            "is_paused": row.is_paused,
            "budget": row.budget,
            "created_at": row.created_at.isoformat(),
        }
        for row in rows
    ]


def _held(alias: Alias) -> tuple[int | None, ...]:
    return alias.champion_id, alias.challenger_id, alias.previous_id
