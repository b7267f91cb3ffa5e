"""The catalogue in memory, following the database: revoked keys at once, aliases when provable.

A worker adopts new aliases only when it has itself proved the adapters that they newly need, so
a promotion never makes a request fail. Keys are adopted the moment that they are read.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Final

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from monitoring.metrics import Metrics
from serving.fleet.proof import Prover
from serving.ids import tenant_tag
from serving.routing.catalog import Catalog
from serving.store.catalog import load_catalog
from serving.store.database import Database

logger = logging.getLogger("strop.gateway")

_SAFETY_SECONDS: Final = 5.0
"""A notification may be lost with its connection; nothing is for longer than this."""
_READ_SECONDS: Final = 5.0
_PROVE_SECONDS: Final = 10.0
_FIRST_BACK_OFF_SECONDS: Final = 0.2
_LONGEST_BACK_OFF_SECONDS: Final = 5.0

DATABASE_ERRORS: Final = (SQLAlchemyError, psycopg.Error, OSError, TimeoutError)


class Follower:
    """Keeps `catalog` up to date. The last one stays when the database is down."""

    def __init__(
        self,
        database: Database,
        prover: Prover,
        metrics: Metrics,
        *,
        prove_seconds: float = _PROVE_SECONDS,
    ) -> None:
        self.catalog = Catalog()
        """Its `revision` is the one whose aliases are routed by."""
        self.is_loaded = False
        self._database = database
        self._prover = prover
        self._metrics = metrics
        self.prove_seconds = prove_seconds
        self._tenants: dict[bytes, str] = {}
        self._newest = Catalog()
        self._adoption: asyncio.Task[None] | None = None

    def tenant_of(self, tag: bytes) -> str | None:
        """Return the tenant whose inference ids carry `tag`."""
        return self._tenants.get(tag)

    async def run(self) -> None:
        """Follow until cancelled; after an outage, connect again with growing pauses."""
        pause = _FIRST_BACK_OFF_SECONDS
        try:
            while True:
                try:
                    async with self._database.listen() as connection:
                        while True:
                            await self.reload()
                            pause = _FIRST_BACK_OFF_SECONDS
                            await _wait_for_news(connection)
                except DATABASE_ERRORS as error:
                    logger.warning("The catalogue cannot be read, the last one stays: %s", error)
                    self._metrics.failed("catalog")
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_BACK_OFF_SECONDS)
        finally:
            if self._adoption is not None:
                self._adoption.cancel()

    async def reload(self) -> None:
        """Read the catalogue; adopt its keys now and its aliases as soon as they can be served."""
        async with asyncio.timeout(_READ_SECONDS), self._database.session() as session:
            newest = await load_catalog(session)
        self._newest = newest
        self._tenants = _tenants_of(newest)
        if not self.is_loaded or not newly_needed(self.catalog, newest):
            self._adopt()
            return
        aliases, shared = self.catalog.aliases, self.catalog.shared
        revision = self.catalog.revision
        self.catalog = replace(newest, aliases=aliases, shared=shared, revision=revision)
        if self._adoption is None or self._adoption.done():
            self._adoption = asyncio.create_task(self._adopt_when_proved())

    async def _adopt_when_proved(self) -> None:
        """Adopt the newest aliases when all they need is proved, or anyway when time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.prove_seconds
        is_proved = False
        while not is_proved and loop.time() < deadline:
            wanted = newly_needed(self.catalog, self._newest)
            is_proved = await self._prover.prove(wanted, deadline - loop.time())
            # What was read meanwhile may need more.
            is_proved = is_proved and newly_needed(self.catalog, self._newest) == wanted
        if not is_proved:
            logger.warning("Adopted aliases of revision %d unproved", self._newest.revision)
            self._metrics.failed("proof")
        self._adopt()

    def _adopt(self) -> None:
        self.catalog = self._newest
        self.is_loaded = True


def newly_needed(old: Catalog, new: Catalog) -> dict[str, set[str]]:
    """Return pool -> adapters of champions in `new` that are no champions in `old`."""
    needed: dict[str, set[str]] = {}
    for pool, adapter in _champions(new) - _champions(old):
        needed.setdefault(pool, set()).add(adapter)
    return needed


def _champions(catalog: Catalog) -> set[tuple[str, str]]:
    champions = [alias.champion for alias in catalog.all_aliases]
    return {(release.pool, release.adapter) for release in champions if release.adapter}


def _tenants_of(catalog: Catalog) -> dict[bytes, str]:
    tenants = {principal.tenant for principal in catalog.principals.values()}
    return {tenant_tag(tenant): tenant for tenant in tenants}


async def _wait_for_news(connection: psycopg.AsyncConnection) -> None:
    async for _ in connection.notifies(timeout=_SAFETY_SECONDS, stop_after=1):
        pass
