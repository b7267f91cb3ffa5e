"""What `strop up` waits for before it greets: that every pool and every alias can be served.

It believes what the processes of this start say of themselves in the database: a gateway worker
of what it has proved, the worker of the engines it has looked at.
"""

import socket
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import func, select

from gateway.follow import DATABASE_ERRORS
from serving.fleet.engines import urls_of
from serving.routing.catalog import Catalog
from serving.settings import Settings
from serving.store.catalog import load_catalog
from serving.store.database import Database
from serving.store.tables import GatewayWorker, Replica
from serving.store.workers import list_live_workers, list_replicas

_PROOF_SECONDS: Final = 120.0
"""For loading and proving, beyond what engines have for their start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What cannot be served: what will be, and what will not without a person."""

    awaited: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    """`<what>: <why>`."""


class Lookout:
    """Looks again and again until nothing is worth waiting for."""

    def __init__(self, settings: Settings, database: Database, since: datetime) -> None:
        """Believe only what was said after `since`, by the database's clock."""
        self.outlook = Outlook()
        self._settings = settings
        self._database = database
        self._since = since
        self._deadline = time.monotonic() + patience_seconds(settings)

    async def is_settled(self) -> bool:
        """Look once; return whether everything can be served, is known to fail, or takes too long."""
        try:
            self.outlook = await self._look()
        except DATABASE_ERRORS:  # the gateway's log says so; it waits for the database, as we do
            self.outlook = Outlook(awaited=("the database",))
        return not self.outlook.awaited or time.monotonic() > self._deadline

    def complaints(self) -> Iterator[str]:
        """Yield a line for everything that cannot be served."""
        for failed in self.outlook.failed:
            yield f"Not served: {failed}. `strop status` tells more."
        for awaited in self.outlook.awaited:
            yield f"Not served yet: {awaited}. `strop status` tells how far it is."

    async def _look(self) -> Outlook:
        async with self._database.snapshot() as session:
            catalog = await load_catalog(session)
            workers = await list_live_workers(session)
            replicas = await list_replicas(session)
        here = socket.gethostname()
        return judge(
            self._settings,
            catalog,
            [row for row in workers if row.host == here and row.seen_at >= self._since],
            [row for row in replicas if row.seen_at >= self._since],
        )


@asynccontextmanager
async def open_lookout(settings: Settings, url: str) -> AsyncGenerator[Lookout]:
    """Yield a lookout for the processes that are started from now on."""
    database = Database.connect(url, pool_size=1)
    try:
        async with database.session() as session:
            since = (await session.exec(select(func.now()))).one()
        yield Lookout(settings, database, since)
    finally:
        await database.close()


def judge(
    settings: Settings,
    catalog: Catalog,
    workers: Sequence[GatewayWorker],
    replicas: Sequence[Replica],
) -> Outlook:
    """Return what cannot be served: of the pools their base models, of the aliases their champions.

    Args:
        workers: what the gateway workers of this start said of themselves.
        replicas: what was seen of the engines since this start.
    """
    wanted = {f"base model {pool.served_name}": (pool.name, None) for pool in settings.all_pools}
    champions = {
        f"alias {alias.name} of {alias.tenant}": (alias.champion.pool, alias.champion.adapter)
        for alias in catalog.all_aliases
    }
    is_behind = any(row.revision < catalog.revision for row in workers)
    awaited, failed = [], []
    for what, (pool, adapter) in (wanted | champions).items():
        fault = _find_fault(settings, replicas, pool, adapter)
        if fault is not None:
            failed.append(f"{what}: {fault}")
        elif is_behind or not _is_proved(settings, workers, pool, adapter):
            awaited.append(what)
    return Outlook(awaited=tuple(awaited), failed=tuple(failed))


def patience_seconds(settings: Settings) -> float:
    """Return how long to wait for what neither comes nor fails."""
    is_any_here = any(pool.is_launched_here for pool in settings.all_pools)
    return _PROOF_SECONDS + (settings.engine.start_seconds if is_any_here else 0.0)


def _is_proved(
    settings: Settings, workers: Sequence[GatewayWorker], pool: str, adapter: str | None
) -> bool:
    """Whether all gateway workers are there, and each has proved it on some replica."""
    urls = urls_of(settings, settings.pool(pool))
    return len(workers) >= settings.gateway.workers and all(
        any(url in row.proved and (adapter is None or adapter in row.proved[url]) for url in urls)
        for row in workers
    )


def _find_fault(
    settings: Settings, replicas: Sequence[Replica], pool: str, adapter: str | None
) -> str | None:
    """Say why no replica will serve it without a person's help; None: one may, or does."""
    found = next((each for each in settings.all_pools if each.name == pool), None)
    if found is None:
        return f"the configuration names no pool {pool}"
    seen = {row.url: row for row in replicas}
    faults = []
    for url in urls_of(settings, found):
        row = seen.get(url)
        # An engine of ours that does not answer is starting; the supervisor sees to its end.
        if row is None or (not row.is_healthy and found.is_launched_here):
            return None
        if row.is_healthy and (adapter is None or adapter in row.adapters or not row.error):
            return None
        faults.append(f"{url} {row.error}")
    return faults[0]
