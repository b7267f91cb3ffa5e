"""Proof that a replica can answer: each gateway worker finds out for itself.

A replica is proved for the base model while it is healthy; for an adapter when it lists it with
the path that we gave and has answered a probe. Whoever routes asks `replicas_for`, from memory.
"""

import asyncio
import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import partial
from typing import Final

from serving.errors import StropError
from serving.fleet.adapters import adapter_path
from serving.fleet.engine import UPSTREAM_LOOK_SECONDS, Engine
from serving.fleet.probes import Probes
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.types import PoolKind

log = logging.getLogger("strop.serving")
_NUDGE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Proof:
    """What is known of one replica."""

    is_healthy: bool = False
    adapters: frozenset[str] = frozenset()
    epoch: int = 0
    """Raised when a request met a failure: what a look found out before that is void."""


class ProofBook:
    """What one gateway worker has proved. Plain memory: no method waits."""

    def __init__(self, urls: Mapping[str, tuple[str, ...]]) -> None:
        self._urls = dict(urls)
        self._proofs = {url: _Proof() for pool in urls.values() for url in pool}
        self._routes: dict[tuple[str, str | None], tuple[str, ...]] = {}

    @property
    def proved(self) -> dict[str, list[str]]:
        """Replica URL -> adapters proved there, for every healthy replica."""
        return {
            url: sorted(proof.adapters) for url, proof in self._proofs.items() if proof.is_healthy
        }

    def replicas_for(self, pool: str, adapter: str | None) -> tuple[str, ...]:
        """Return the URLs that are proved for an adapter; None means the base model."""
        return self._routes.get((pool, adapter), ())

    def unprove(self, url: str, adapter: str | None = None) -> None:
        """Take back what was proved: of one adapter (the engine said 404), or all of a replica."""
        proof = self._proofs[url]
        epoch = proof.epoch + 1
        if adapter is None:
            self._write(url, _Proof(epoch=epoch))
        else:
            self._write(url, _Proof(proof.is_healthy, proof.adapters - {adapter}, epoch))

    def epoch_of(self, url: str) -> int:
        """Return the epoch in which a look at a replica begins."""
        return self._proofs[url].epoch

    def adapters_of(self, url: str) -> frozenset[str]:
        """Return the adapters proved on a replica."""
        return self._proofs[url].adapters

    def note(self, url: str, epoch: int, *, is_healthy: bool, adapters: frozenset[str]) -> bool:
        """Write down what a look found out, unless a request has learnt otherwise meanwhile.

        Returns:
            Whether it was written down.
        """
        is_valid = self._proofs[url].epoch == epoch
        if is_valid:
            self._write(url, _Proof(is_healthy, adapters, epoch))
        return is_valid

    def note_answer(self, url: str, epoch: int, adapter: str) -> None:
        """Write down that a probe was answered, unless its replica has failed meanwhile."""
        proof = self._proofs[url]
        if proof.epoch == epoch and proof.is_healthy:
            self._write(url, _Proof(True, proof.adapters | {adapter}, epoch))

    def _write(self, url: str, proof: _Proof) -> None:
        if self._proofs[url] == proof:
            return
        self._proofs[url] = proof
        routes: dict[tuple[str, str | None], tuple[str, ...]] = {}
        for pool, urls in self._urls.items():
            for healthy in (known for known in urls if self._proofs[known].is_healthy):
                for adapter in (None, *self._proofs[healthy].adapters):
                    routes[pool, adapter] = (*routes.get((pool, adapter), ()), healthy)
        self._routes = routes


class Prover:
    """Looks at every replica about once a second and keeps the book; probes run beside the looks.

    Attributes:
        champions: adapters that are probed before others; whoever knows the catalogue sets them.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Mapping[str, tuple[Engine, ...]],
        *,
        look_seconds: float = 1.0,
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._look_seconds = look_seconds
        self._nudges = {engine.url: asyncio.Event() for pool in engines.values() for engine in pool}
        self._complaints: dict[tuple[str, str], str] = {}
        self._probes = Probes()
        self.champions: frozenset[str] = frozenset()
        self.book = ProofBook(
            {pool: tuple(engine.url for engine in group) for pool, group in engines.items()}
        )

    @property
    def pools(self) -> frozenset[str]:
        """The names of the pools that are configured."""
        return frozenset(self._engines)

    def replicas_for(self, pool: str, adapter: str | None) -> tuple[str, ...]:
        """Return the URLs that are proved for an adapter; None means the base model."""
        return self.book.replicas_for(pool, adapter)

    def unprove(self, url: str, adapter: str | None = None) -> None:
        """Take back a proof after a failure, and look again soon."""
        self._void(url, adapter)
        self._nudges[url].set()

    async def run(self) -> None:
        """Look at all replicas, each in its own rhythm, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for pool, engines in self._engines.items():
                    for engine in engines:
                        group.create_task(self._keep_looking(self._settings.pool(pool), engine))
        finally:
            await self._probes.close()

    async def prove(self, wanted: Mapping[str, Set[str | None]], timeout: float) -> bool:
        """Wait until each wanted adapter is proved on one replica of its pool at least.

        Args:
            wanted: pool -> adapter names, None for the base model. `run` has to be running: it does the looking.
            timeout: seconds.

        Returns:
            Whether it came to pass in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while missing := self._pools_that_miss(wanted):
            if loop.time() >= deadline:
                return False
            for engine in (engine for pool in missing for engine in self._engines.get(pool, ())):
                self._nudges[engine.url].set()
            await asyncio.sleep(_NUDGE_SECONDS)
        return True

    async def look(self, pool: PoolSettings, engine: Engine) -> None:
        """Look at one replica once: health and list. Begin probes of what is new, champions first.

        Raises:
            EngineError: it does not list its adapters.
        """
        url, epoch = engine.url, self.book.epoch_of(engine.url)
        if not await engine.is_healthy():
            self.book.note(url, epoch, is_healthy=False, adapters=frozenset())
            self._probes.drop(url)
            return
        listed = self._ours(pool, engine, await engine.list_adapters())
        known = self.book.adapters_of(url) & listed
        if not self.book.note(url, epoch, is_healthy=True, adapters=known):
            return
        self._probes.drop(url, keep=listed)
        for name in sorted(listed - known, key=lambda name: (name not in self.champions, name)):
            self._probes.begin(url, name, partial(self._probe, engine, name, epoch))

    async def _keep_looking(self, pool: PoolSettings, engine: Engine) -> None:
        nudge = self._nudges[engine.url]
        is_upstream = pool.kind is PoolKind.OPENAI
        pause = UPSTREAM_LOOK_SECONDS if is_upstream else self._look_seconds
        was_told: bool | None = None  # the first look is told either way
        while True:
            nudge.clear()
            try:
                await self.look(pool, engine)
            except StropError as error:
                self._void(engine.url)
                self._complain(engine, "its list", error)
            except Exception:
                self._void(engine.url)
                log.exception("looking at %s failed", engine.url)
            is_healthy = engine.url in self.book.proved
            if is_healthy != was_told:
                # Not what the book says now: a request may have met the failure first.
                was_told = is_healthy
                log.info("%s is %s", engine.url, "healthy" if is_healthy else "not healthy")
            await _wait(nudge, pause)

    async def _probe(self, engine: Engine, name: str, epoch: int) -> None:
        try:
            await engine.probe(name)
        except StropError as error:
            self._complain(engine, name, error)
        except Exception:
            log.exception("probing %s on %s failed", name, engine.url)
        else:
            self.book.note_answer(engine.url, epoch, name)

    def _void(self, url: str, adapter: str | None = None) -> None:
        """Take back a proof; with it goes what probes under way would have found out."""
        self.book.unprove(url, adapter)
        self._probes.drop(url)

    def _ours(
        self, pool: PoolSettings, engine: Engine, listed: Mapping[str, str]
    ) -> frozenset[str]:
        """Return the listed adapters whose path is the one that we would give."""
        names = set()
        for name, path in listed.items():
            if path == adapter_path(self._settings, pool, name):
                names.add(name)
            else:
                self._complain(
                    engine,
                    name,
                    f"its path {path} is not ours; it gets no traffic. "
                    "Restart the engine, or set the pool's adapter_root.",
                )
        return frozenset(names)

    def _complain(self, engine: Engine, what: str, fault: Exception | str) -> None:
        """Log a fault once: a look comes every second."""
        if self._complaints.get((engine.url, what)) != str(fault):
            self._complaints[engine.url, what] = str(fault)
            log.warning("%s, %s: %s", engine.url, what, fault)

    def _pools_that_miss(self, wanted: Mapping[str, Set[str | None]]) -> set[str]:
        return {
            pool
            for pool, adapters in wanted.items()
            if any(not self.replicas_for(pool, adapter) for adapter in adapters)
        }


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
