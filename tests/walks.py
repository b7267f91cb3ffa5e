"""What the tests of promotion and rollback share: one alias on engines in memory."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from serving.fleet import swap
from serving.fleet.memory import MemoryEngine
from serving.routing.catalog import Alias as ServedAlias
from serving.settings import Settings
from serving.store.aliases import id_of
from serving.store.catalog import load_catalog
from serving.store.database import Database
from serving.store.releases import find_release, list_promotions
from serving.store.tables import Adapter, Alias, Promotion, Release
from serving.types import ReleaseState

Engines = dict[str, tuple[MemoryEngine, ...]]


AddRelease = Callable[[], Awaitable[tuple[Adapter, Release]]]


@dataclass(frozen=True, slots=True)
class Walks:
    """Promotions and rollbacks of one alias, and what came of them."""

    database: Database
    settings: Settings
    engines: Engines
    alias: Alias

    async def promote(self, number: int) -> Promotion:
        """Force a promotion through."""
        return await swap.promote(
            self.database,
            self.settings,
            self.engines,
            id_of(self.alias),
            number,
            actor="console",
            reason="a test",
            is_forced=True,
        )

    async def rollback(self) -> Promotion:
        """Roll back."""
        return await swap.rollback(
            self.database,
            self.settings,
            self.engines,
            id_of(self.alias),
            actor="console",
            reason="a test",
        )

    async def served(self) -> ServedAlias:
        """Return the alias as gateway workers see it."""
        async with self.database.session() as session:
            return (await load_catalog(session)).aliases[self.alias.tenant, self.alias.name]

    async def state(self, number: int) -> ReleaseState:
        """Return a release's state."""
        async with self.database.session() as session:
            return (await find_release(session, self.alias, number)).state

    async def history(self) -> list[Promotion]:
        """Return the flips, oldest first."""
        async with self.database.session() as session:
            return (await list_promotions(session, self.alias))[::-1]

    def loads(self) -> int:
        """Return how often any engine was asked to load."""
        return sum(len(engine.loads) for group in self.engines.values() for engine in group)
