"""Desired and observed, replica by replica: what the worker does every few seconds.

1. Read what every pool ought to hold: champion, challenger and previous of its aliases.
2. Ask every replica what it holds; upstreams of others less often, for they hold nothing of ours.
3. Load what is missing, and prove it.
4. Unload what nobody wants and nobody uses.
5. Write down what was seen.

A restarted engine has lost its adapters; this is how it gets them back. Names that are not in the
registry are somebody else's and stay.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from serving.errors import StropError
from serving.fleet.adapters import adapter_path, list_adapters
from serving.fleet.engine import UPSTREAM_LOOK_SECONDS, Engine
from serving.fleet.holding import hold_adapter, unload_if_unused
from serving.fleet.placement import desired_adapters
from serving.routing.catalog import Catalog
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.store.catalog import load_catalog
from serving.store.database import Database
from serving.store.tables import Adapter, Replica
from serving.store.workers import forget_dead_workers, replicas_seen_within, report_replicas
from serving.types import PoolKind

log = logging.getLogger("strop.serving")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one pass works from."""

    catalog: Catalog
    registry: Mapping[str, Adapter]
    rested: frozenset[str]
    """URLs of upstreams that were asked a moment ago."""


async def reconcile(
    database: Database, settings: Settings, engines: Mapping[str, tuple[Engine, ...]]
) -> None:
    """Make one pass over all replicas. Nothing happens while another process makes one."""
    async with database.lock("reconcile") as is_ours:
        if not is_ours:
            return
        plan = await _read_plan(database, settings, engines)
        replicas = await asyncio.gather(
            *(
                _reconcile_replica(database, settings, settings.pool(pool), engine, plan)
                for pool, group in engines.items()
                for engine in group
                if engine.url not in plan.rested
            )
        )
        async with database.session() as session:
            await report_replicas(session, replicas, plan.rested)
            await forget_dead_workers(session)


async def _read_plan(
    database: Database, settings: Settings, engines: Mapping[str, tuple[Engine, ...]]
) -> _Plan:
    upstreams = {
        engine.url
        for pool, group in engines.items()
        for engine in group
        if settings.pool(pool).kind is PoolKind.OPENAI
    }
    async with database.snapshot() as session:
        catalog = await load_catalog(session)
        registry = {adapter.name: adapter for adapter in await list_adapters(session)}
        seen = await replicas_seen_within(session, UPSTREAM_LOOK_SECONDS)
    return _Plan(catalog, registry, frozenset(upstreams & seen))


async def _reconcile_replica(
    database: Database, settings: Settings, pool: PoolSettings, engine: Engine, plan: _Plan
) -> Replica:
    """Do steps 2 to 4 for one replica; what fails is logged and told in its row."""
    if not await engine.is_healthy():
        return Replica(url=engine.url, pool=pool.name, is_healthy=False, error="does not answer")
    faults: list[str] = []
    listed: dict[str, str] = {}
    try:
        desired = desired_adapters(plan.catalog, pool.name)
        listed = await engine.list_adapters()
        for name in sorted(desired - _held(settings, pool, listed)):
            faults += await _load(settings, pool, engine, plan.registry[name])
        for name in sorted(listed.keys() & plan.registry.keys() - desired):
            await unload_if_unused(database, pool, engine, plan.registry[name])
        listed = await engine.list_adapters()
    except StropError as error:
        faults.append(_note(engine, error))
    return Replica(
        url=engine.url,
        pool=pool.name,
        is_healthy=True,
        adapters=sorted(listed),
        error=" ".join(faults) or None,
    )


def _held(settings: Settings, pool: PoolSettings, listed: Mapping[str, str]) -> set[str]:
    return {name for name, path in listed.items() if path == adapter_path(settings, pool, name)}


async def _load(
    settings: Settings, pool: PoolSettings, engine: Engine, adapter: Adapter
) -> list[str]:
    """Load one adapter; return what went wrong, so that the others still get their turn."""
    try:
        await hold_adapter(settings, pool, engine, adapter)
    except StropError as error:
        return [_note(engine, error)]
    log.info("%s holds adapter %s again", engine.url, adapter.name)
    return []


def _note(engine: Engine, error: StropError) -> str:
    log.warning("reconciling %s: %s", engine.url, error.message)
    return error.message
