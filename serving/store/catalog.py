"""The catalogue as gateway workers hold it in memory: keys and aliases as of one revision."""

import asyncio
from dataclasses import replace
from typing import Any, Final

import sqlalchemy
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.routing import catalog as routing
from serving.store.access import Key, exceptions_of
from serving.store.aliases import id_of
from serving.store.learning import Run
from serving.store.retention import kept_since
from serving.store.tables import Adapter, Alias, Release, Revision
from serving.store.usage import usage_of_month

_MOST_AT_ONCE: Final = 500
_OF_KEY: Final = tuple(
    col(column)
    for column in (
        *(Key.id, Key.digest, Key.tenant, Key.role, Key.aliases),
        *(Key.rpm, Key.tpm, Key.concurrency, Key.budget),
        *(Key.exceptions, Key.no_log, Key.no_train),
    )
)


async def load_catalog(session: AsyncSession) -> routing.Catalog:
    """Return keys and aliases, all as of one and the same revision.

    Every change raises the revision in its own transaction. So if it has not moved while the
    rows were read, nothing else has either: no lock is taken and nobody is kept waiting. In a
    snapshot nothing moves; else this begins anew, for as long as changes come faster than it reads.
    """
    while True:
        revision = await _revision(session)
        principals = await _principals(session)
        aliases = await _aliases(session)
        # After the aliases: a candidate is evaluated no more only once it is the champion.
        under_evaluation = await _under_evaluation(session)
        usage = await usage_of_month(session)
        first_kept = await kept_since(session)
        if await _revision(session) == revision:
            return routing.Catalog(
                revision=revision,
                principals=principals,
                aliases={(alias.tenant, alias.name): alias for alias in aliases},
                shared={alias.name: alias for alias in aliases if alias.is_shared},
                under_evaluation=under_evaluation,
                usage=usage,
                kept_since=first_kept,
            )


async def refresh_catalog(session: AsyncSession, known: routing.Catalog) -> routing.Catalog:
    """Return the newest catalogue: `known`, with what was used since, if its revision still holds."""
    if await _revision(session) != known.revision:
        return await load_catalog(session)
    return replace(known, usage=await usage_of_month(session)) if known.has_budgets else known


async def _revision(session: AsyncSession) -> int:
    return (await session.exec(select(Revision.value))).one()


async def _principals(session: AsyncSession) -> dict[str, routing.Principal]:
    """Read all keys, some at a time, as columns: requests are served meanwhile, by this event loop."""
    query = sqlalchemy.select(*_OF_KEY).where(col(Key.revoked_at).is_(None))
    connection = await session.connection()
    rows = await connection.execute(query)
    found: dict[str, routing.Principal] = {}
    for some in rows.partitions(_MOST_AT_ONCE):
        found.update((key.digest, _principal(key)) for key in some)
        await asyncio.sleep(0)
    return found


def _principal(key: Any) -> routing.Principal:
    return routing.Principal(
        key_id=key.id,
        tenant=key.tenant,
        role=key.role,
        aliases=None if key.aliases is None else frozenset(key.aliases),
        quota=_quota(key),
        exceptions=exceptions_of(key.exceptions),
        is_logged=not key.no_log,
        is_trainable=not (key.no_log or key.no_train),
    )


def _quota(key: Any) -> routing.Quota:
    """Return a key's limits; those of most keys are one and the same object, quick to tell."""
    found = routing.Quota(rpm=key.rpm, tpm=key.tpm, concurrency=key.concurrency, budget=key.budget)
    return routing.UNLIMITED if found == routing.UNLIMITED else found


async def _aliases(session: AsyncSession) -> list[routing.Alias]:
    held = or_(
        col(Release.id) == Alias.champion_id,
        col(Release.id) == Alias.challenger_id,
        col(Release.id) == Alias.previous_id,
    )
    rows = await session.exec(
        select(Alias, Release, Adapter)
        .join(Release, held)
        .join(Adapter, col(Adapter.id) == Release.adapter_id, isouter=True)
        .order_by(col(Alias.id))
        .execution_options(populate_existing=True)
    )
    owners: dict[int | None, Alias] = {}
    releases: dict[int | None, routing.Release] = {}
    # `Any`: SQLModel types an outer-joined row as always there.
    row: Any
    for row in rows:
        alias, release, adapter = row
        owners[alias.id] = alias
        releases[release.id] = _release(release, adapter)
    return [_alias(alias, releases) for alias in owners.values()]


async def _under_evaluation(session: AsyncSession) -> tuple[routing.Release, ...]:
    """Read the candidates of runs that have not ended: judged, or passed and not promoted yet."""
    rows = await session.exec(
        select(Release, Adapter)
        .join(Run, col(Run.release_id) == Release.id)
        .join(Adapter, col(Adapter.id) == Release.adapter_id)
        .where(col(Run.ended_at).is_(None))
        .order_by(col(Release.id))
        .execution_options(populate_existing=True)
    )
    return tuple(_release(release, adapter) for release, adapter in rows)


def _alias(row: Alias, releases: dict[int | None, routing.Release]) -> routing.Alias:
    return routing.Alias(
        id=id_of(row),
        tenant=row.tenant,
        name=row.name,
        task=row.task,
        champion=releases[row.champion_id],
        challenger=releases.get(row.challenger_id),
        previous=releases.get(row.previous_id),
        is_shared=row.is_shared,
        canary_percent=row.canary_percent,
        canary_revision=row.canary_revision,
        budget=row.budget,
    )


def _release(row: Release, adapter: Adapter | None) -> routing.Release:
    return routing.Release(
        id=id_of(row),
        number=row.number,
        pool=row.pool,
        adapter=adapter.name if adapter else None,
        adapter_digest=adapter.digest if adapter else None,
        system_prompt=row.system_prompt,
        decoding=row.decoding,
    )
