"""The catalogue in memory, following the database: revoked keys at once, aliases when provable.

A worker adopts an alias's new champion when it has itself proved its adapter, so a promotion never
makes a request fail: the old champion serves until then, for as long as it is proved. Keys are
adopted the moment that they are read.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from monitoring.metrics import Metrics
from serving.fleet.proof import Prover
from serving.ids import tenant_tag
from serving.pause import pause_seconds
from serving.routing.catalog import Alias, Catalog, Release
from serving.store.catalog import load_catalog, refresh_catalog
from serving.store.database import Database, hear

logger = logging.getLogger("strop.gateway")

_SAFETY_SECONDS: Final = 5.0
"""Without word of a change, how long until the revision is looked at, and what was used is read."""
_READ_SECONDS: Final = 5.0
_PROVE_SECONDS: Final = 10.0
_STEP_SECONDS: Final = 0.2
_LATE_STEP_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0

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
        self._lost: set[tuple[str, str, int, str]] = set()
        self._adoption: asyncio.Task[None] | None = None

    def tenant_of(self, tag: bytes) -> str | None:
        """Return the tenant whose inference ids carry `tag`."""
        return self._tenants.get(tag)

    async def settle(self, seconds: float) -> bool:
        """Wait until bases and champions are proved here; False: not all of them within `seconds`."""
        wanted: dict[str, set[str | None]] = {pool: {None} for pool in self._prover.pools}
        for pool, adapter in _champions(self.catalog):
            wanted.setdefault(pool, {None}).add(adapter)
        return await self._prover.prove(wanted, seconds)

    async def run(self) -> None:
        """Follow until cancelled; after an outage, connect again with growing pauses."""
        num_failures = 0
        try:
            while True:
                try:
                    async with self._database.listen() as connection:
                        await self.reload()
                        while True:
                            num_failures = 0
                            if await hear(connection, _SAFETY_SECONDS):
                                await self.reload()
                            else:
                                await self.refresh()
                except DATABASE_ERRORS as error:
                    logger.warning("The catalogue cannot be read, the last one stays: %r", error)
                    self._metrics.failed("catalog")
                except Exception:
                    logger.exception("The catalogue cannot be read, the last one stays")
                    self._metrics.failed("catalog")
                num_failures += 1
                await asyncio.sleep(
                    pause_seconds(num_failures, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
                )
        finally:
            if self._adoption is not None:
                self._adoption.cancel()

    async def reload(self) -> None:
        """Read the catalogue; adopt its keys now and its aliases as soon as they can be served."""
        async with asyncio.timeout(_READ_SECONDS), self._database.snapshot() as session:
            newest = await load_catalog(session)
        self._take(newest)

    async def refresh(self) -> None:
        """Look whether the catalogue is another one than that which was read last; if so, take it."""
        async with asyncio.timeout(_READ_SECONDS), self._database.snapshot() as session:
            newest = await refresh_catalog(session, self._newest)
        if newest is not self._newest:
            self._take(newest)

    def _take(self, newest: Catalog) -> None:
        self._newest = newest
        self._tenants = _tenants_of(newest)
        self._prover.champions = frozenset(adapter for _, adapter in _champions(newest))
        self._tell_lost_pools()
        self._adopt(self._is_awaiting_proof)
        if self._is_behind and (self._adoption is None or self._adoption.done()):
            self._adoption = asyncio.create_task(self._catch_up())

    @property
    def _is_behind(self) -> bool:
        return self.catalog is not self._newest

    def _tell_lost_pools(self) -> None:
        """Log, once, which releases name a pool that is not configured any more."""
        lost = {
            (alias.name, alias.tenant, release.number, release.pool)
            for alias in self._newest.all_aliases
            for release in alias.releases
            if release.pool not in self._prover.pools
        }
        for found in sorted(lost - self._lost):
            logger.error(
                "Alias %s of %s: its release %d is of pool %s, which the configuration does not "
                "name, so requests for it get 503. Name the pool, or promote another release.",
                *found,
            )
        self._lost = lost

    async def _catch_up(self) -> None:
        """Adopt alias by alias what is proved; late, also what replaces a champion that is gone."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.prove_seconds
        while self._is_behind and loop.time() < deadline:
            await self._prover.prove(newly_needed(self.catalog, self._newest), _STEP_SECONDS)
            self._adopt(self._is_awaiting_proof)
        if self._is_behind:
            logger.warning("New champions of revision %d are unproved", self._newest.revision)
            self._metrics.failed("proof")
        while self._is_behind:
            self._adopt(self._is_better_kept)
            await asyncio.sleep(_LATE_STEP_SECONDS)

    def _adopt(self, is_kept: Callable[[Alias, Alias], bool]) -> None:
        self.catalog = adopted(self.catalog, self._newest, is_kept)
        self.is_loaded = True

    def _is_awaiting_proof(self, old: Alias, new: Alias) -> bool:
        is_new = _served_by(new.champion) != _served_by(old.champion)
        return is_new and not self._is_proved(new.champion)

    def _is_better_kept(self, old: Alias, new: Alias) -> bool:
        return self._is_awaiting_proof(old, new) and self._is_proved(old.champion)

    def _is_proved(self, release: Release) -> bool:
        """Whether a release can be served; the base needs no proof."""
        return release.adapter is None or bool(self._prover.replicas_for(*_served_by(release)))


def adopted(old: Catalog, new: Catalog, is_kept: Callable[[Alias, Alias], bool]) -> Catalog:
    """Return `new` with the aliases of `old` that are kept (old, new) in place of their new selves.

    While one is kept, the revision stays the old one: no engine may forget its adapter yet.
    """
    kept = {
        key: alias
        for key, alias in old.aliases.items()
        if key in new.aliases and is_kept(alias, new.aliases[key])
    }
    if not kept:
        return new
    aliases = {**new.aliases, **kept}
    shared = {name: aliases[alias.tenant, alias.name] for name, alias in new.shared.items()}
    return replace(new, aliases=aliases, shared=shared, revision=old.revision)


def newly_needed(old: Catalog, new: Catalog) -> dict[str, set[str]]:
    """Return pool -> adapters of champions in `new` that are no champions in `old`."""
    needed: dict[str, set[str]] = {}
    for pool, adapter in _champions(new) - _champions(old):
        needed.setdefault(pool, set()).add(adapter)
    return needed


def _champions(catalog: Catalog) -> set[tuple[str, str]]:
    champions = [alias.champion for alias in catalog.all_aliases]
    return {(release.pool, release.adapter) for release in champions if release.adapter}


def _served_by(release: Release) -> tuple[str, str | None]:
    return release.pool, release.adapter


def _tenants_of(catalog: Catalog) -> dict[bytes, str]:
    tenants = {principal.tenant for principal in catalog.principals.values()}
    return {tenant_tag(tenant): tenant for tenant in tenants}
