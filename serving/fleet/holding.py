"""Having engines hold adapters: loaded, listed with the right path, and seen to answer."""

import asyncio
import logging
from collections.abc import Sequence

from serving.errors import EngineError, StropError, UnavailableError
from serving.fleet.adapters import adapter_path, verify_adapter
from serving.fleet.engine import Engine
from serving.fleet.placement import is_unloadable
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.store.aliases import lock_alias
from serving.store.catalog import load_catalog
from serving.store.database import Database, try_lock
from serving.store.tables import Adapter
from serving.store.workers import list_live_workers

log = logging.getLogger("strop.serving")


async def hold_adapter(
    settings: Settings, pool: PoolSettings, engine: Engine, adapter: Adapter
) -> None:
    """Have an engine hold an adapter, and prove it: listed with the right path, probe answered.

    Raises:
        EngineError: the engine refuses, cannot be reached, or does not hold it afterwards.
        ConflictError: the files have changed since import, or the name has another path there.
    """
    if not await _is_listed(settings, pool, engine, adapter):
        await asyncio.to_thread(verify_adapter, settings, adapter)
        await engine.load(adapter.name, adapter_path(settings, pool, adapter.name))
        if not await _is_listed(settings, pool, engine, adapter):
            raise EngineError(
                f"The engine {engine.url} took adapter {adapter.name} and does not list it with "
                "the path that it was given. Restart the engine."
            )
    await engine.probe(adapter.name)


async def hold_everywhere(
    settings: Settings, pool: PoolSettings, engines: Sequence[Engine], adapter: Adapter
) -> None:
    """Have every healthy replica hold an adapter. All come to their end, also when one fails.

    Raises:
        UnavailableError: no replica is healthy.
        EngineError, ConflictError: the first failure.
    """
    healthy = await _healthy(engines)
    if not healthy:
        raise UnavailableError(
            f"No replica of pool {pool.name!r} is healthy, so adapter {adapter.name} cannot be "
            "loaded. `strop status` shows them; try again when one is.",
            retry_after=10,
        )
    for failure in await _try_all(settings, pool, healthy, adapter):
        raise failure


async def hold_somewhere(
    settings: Settings, pool: PoolSettings, engines: Sequence[Engine], adapter: Adapter
) -> None:
    """Have one healthy replica hold an adapter: who answers first; the reconciler does the rest.

    Without any healthy replica there is nothing to do: the reconciler loads when one comes back.

    Raises:
        EngineError, ConflictError: replicas are healthy, and none of them can be made to.
    """
    attempts = [
        asyncio.create_task(_hold_if_healthy(settings, pool, engine, adapter)) for engine in engines
    ]
    failures: list[StropError] = []
    try:
        for attempt in asyncio.as_completed(attempts):
            try:
                if await attempt:
                    return
            except StropError as failure:
                log.warning("holding adapter %s again: %s", adapter.name, failure)
                failures.append(failure)
    finally:
        for running in attempts:
            running.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
    if failures:
        raise failures[0]


async def unload_if_unused(
    database: Database, pool: PoolSettings, engine: Engine, adapter: Adapter
) -> None:
    """Have an engine forget an adapter, if by now nobody wants, uses or evaluates it.

    The alias stays locked meanwhile: no promotion can begin to want what is being unloaded.

    Raises:
        EngineError: the engine does not do it.
    """
    async with database.session() as session:
        await lock_alias(session, adapter.alias_id)
        catalog = await load_catalog(session)
        workers = await list_live_workers(session)
        if not is_unloadable(catalog, pool.name, adapter.name, workers):
            return
        if await try_lock(session, evaluation_lock(adapter)):
            await engine.unload(adapter.name)


def evaluation_lock(adapter: Adapter) -> str:
    """Return the lock that evaluations of an adapter share: what it holds is not unloaded."""
    return f"adapter/{adapter.name}"


async def _is_listed(
    settings: Settings, pool: PoolSettings, engine: Engine, adapter: Adapter
) -> bool:
    listed = await engine.list_adapters()
    return listed.get(adapter.name) == adapter_path(settings, pool, adapter.name)


async def _hold_if_healthy(
    settings: Settings, pool: PoolSettings, engine: Engine, adapter: Adapter
) -> bool:
    """Have an engine hold an adapter; return whether it does: not if it is not healthy."""
    if not await engine.is_healthy():
        return False
    if not await _is_listed(settings, pool, engine, adapter):
        await hold_adapter(settings, pool, engine, adapter)
    return True


async def _healthy(engines: Sequence[Engine]) -> list[Engine]:
    answers = await asyncio.gather(*(engine.is_healthy() for engine in engines))
    return [engine for engine, is_healthy in zip(engines, answers, strict=True) if is_healthy]


async def _try_all(
    settings: Settings, pool: PoolSettings, engines: Sequence[Engine], adapter: Adapter
) -> list[BaseException]:
    outcomes = await asyncio.gather(
        *(hold_adapter(settings, pool, engine, adapter) for engine in engines),
        return_exceptions=True,
    )
    return [outcome for outcome in outcomes if outcome is not None]
