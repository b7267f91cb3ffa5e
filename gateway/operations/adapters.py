"""Adapters: what `strop adapters` and `/api/adapters` do and say."""

import asyncio
from pathlib import Path

from gateway.operations.releases import describe_releases
from gateway.operations.resources import Json, Resources
from serving.fleet import adapters as registry
from serving.store import aliases
from serving.store.tables import Adapter


async def import_adapter(resources: Resources, name: str, tenant: str, folder: Path) -> Json:
    """Check a PEFT folder, copy it into the home and make a candidate release of it."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        adapter, release = await registry.import_adapter(
            session, resources.settings, alias, folder, source=f"import of {folder}"
        )
        (described,) = await describe_releases(session, [release])
        return {"adapter": describe_adapter(adapter), "release": described}


async def list_adapters(
    resources: Resources, name: str | None = None, tenant: str | None = None
) -> Json:
    """Return every adapter, those of one tenant, or those of one alias (tenant: `default`)."""
    async with resources.database.session() as session:
        if name:
            alias = await aliases.find_alias(session, name, tenant or "default")
            rows = await registry.list_adapters(session, alias)
        else:
            rows = await registry.list_adapters(session, tenant=tenant)
    return {"adapters": [describe_adapter(row) for row in rows]}


async def show_adapter(resources: Resources, name: str) -> Json:
    """Return one adapter by its name."""
    return describe_adapter(await _find(resources, name))


async def verify_adapter(resources: Resources, name: str) -> Json:
    """Compare an adapter's files with its manifest; an error says what differs."""
    adapter = await _find(resources, name)
    await asyncio.to_thread(registry.verify_adapter, resources.settings, adapter)
    return {**describe_adapter(adapter), "is_intact": True}


def describe_adapter(adapter: Adapter) -> Json:
    """Return an adapter as callers see it."""
    return {
        "name": adapter.name,
        "version": adapter.version,
        "digest": adapter.digest,
        "pool": adapter.pool,
        "rank": adapter.rank,
        "num_bytes": adapter.num_bytes,
        "source": adapter.source,
        "created_at": adapter.created_at.isoformat(),
    }


async def _find(resources: Resources, name: str) -> Adapter:
    async with resources.database.session() as session:
        return await registry.find_adapter(session, name)
