"""Whatever happens in whatever order: the rules of loading and unloading hold."""

import contextlib
import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from serving.errors import StropError
from serving.fleet.adapters import import_adapter
from serving.fleet.memory import MemoryEngine
from serving.fleet.placement import desired_adapters
from serving.fleet.reconcile import reconcile
from serving.settings import Settings
from serving.store.aliases import create_alias, list_aliases
from serving.store.catalog import load_catalog
from serving.store.database import Database
from serving.store.releases import find_release
from serving.store.tables import Alias, GatewayWorker, utc_now
from serving.store.workers import remove_worker
from serving.types import Task
from tests.scale import examples
from tests.walks import Engines, Walks

NUM_ADAPTERS = 3
_numbers = itertools.count(1)

replicas = st.integers(0, 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("promote"), st.integers(2, 1 + NUM_ADAPTERS)),
        st.tuples(st.just("rollback"), st.none()),
        st.tuples(st.just("restart"), replicas),
        st.tuples(st.just("go_down"), replicas),
        st.tuples(st.just("refuse_loads"), replicas),
        st.tuples(st.just("report_late"), st.sampled_from("ab")),
        st.tuples(st.just("report_busy"), st.integers(0, NUM_ADAPTERS - 1)),
        st.tuples(st.just("report_idle"), st.sampled_from("ab")),
        st.tuples(st.just("reconcile"), st.none()),
    ),
    min_size=4,
    max_size=14,
)


@hypothesis_settings(
    max_examples=examples(8, full=200),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=steps)
async def test_what_is_needed_is_held_and_what_is_used_is_never_taken(
    database: Database,
    settings: Settings,
    make_folder: Callable[..., Path],
    steps: list[tuple[str, object]],
) -> None:
    """After each pass every well replica holds what its pool needs; an adapter has one path for
    ever; and nothing is unloaded that a live worker may be using.
    """
    story = await _begin(database, settings, make_folder)
    for deed, detail in [*steps, ("reconcile", None)]:
        await story.do(deed, detail)


async def _begin(
    database: Database, settings: Settings, make_folder: Callable[..., Path]
) -> "_Story":
    async with database.session() as session:
        for worker in "ab":
            await remove_worker(session, worker)
        for old in await list_aliases(session):
            # What the example before this one left would be loaded here too.
            first = await find_release(session, old, 1)
            old.champion_id, old.challenger_id, old.previous_id = first.id, None, None
        alias = await create_alias(
            session, settings, name=f"a{next(_numbers)}", tenant="acme", task=Task.CHAT
        )
    names = []
    for _ in range(NUM_ADAPTERS):
        async with database.session() as session:
            adapter, _ = await import_adapter(session, settings, alias, make_folder(), "a test")
            names.append(adapter.name)
    return _Story(database, settings, alias, names)


class _Story:
    """One alias, two replicas, two gateway workers, and a catalogue that moves on."""

    def __init__(
        self, database: Database, settings: Settings, alias: Alias, names: list[str]
    ) -> None:
        self.database = database
        self.settings = settings
        self.names = names
        self.reports: dict[str, GatewayWorker] = {}
        self.replicas = [_Watched(url, self) for url in settings.pool("small").urls]
        self.engines: Engines = {"small": tuple(self.replicas)}
        self._walks = Walks(database, settings, self.engines, alias)

    async def do(self, deed: str, detail: object) -> None:
        """Do one step. It may be refused, with an error of ours and no other."""
        with contextlib.suppress(StropError):
            await getattr(self, f"_{deed}")(detail)

    async def check_unload(self, name: str) -> None:
        """Refuse an unload that a promotion or a live worker forbids."""
        async with self.database.session() as session:
            catalog = await load_catalog(session)
        assert name not in desired_adapters(catalog, "small")
        for report in self.reports.values():
            assert report.revision >= catalog.revision
            assert not report.in_flight.get(name)

    async def _promote(self, number: int) -> None:
        await self._walks.promote(number)

    async def _rollback(self, _: None) -> None:
        await self._walks.rollback()

    async def _restart(self, replica: int) -> None:
        self.replicas[replica].restart()
        self.replicas[replica].fail_load = ""

    async def _go_down(self, replica: int) -> None:
        self.replicas[replica].is_down = True

    async def _refuse_loads(self, replica: int) -> None:
        self.replicas[replica].fail_load = "out of memory"

    async def _report_late(self, worker: str) -> None:
        await self._report(worker, await self._revision() - 1, {})

    async def _report_busy(self, adapter: int) -> None:
        await self._report("a", await self._revision(), {self.names[adapter]: 1})

    async def _report_idle(self, worker: str) -> None:
        await self._report(worker, await self._revision(), {})

    async def _reconcile(self, _: None) -> None:
        await reconcile(self.database, self.settings, self.engines)
        async with self.database.session() as session:
            catalog = await load_catalog(session)
        own = desired_adapters(catalog, "small") & set(self.names)
        for replica in self.replicas:
            if not replica.is_down and not replica.fail_load:
                assert own <= (await replica.list_adapters()).keys()

    async def _report(self, worker: str, revision: int, in_flight: dict[str, int]) -> None:
        row = GatewayWorker(
            id=worker,
            host="h",
            pid=1,
            revision=revision,
            in_flight=in_flight,
            seen_at=utc_now() + timedelta(hours=1),  # live, however slow this machine is
        )
        self.reports[worker] = row
        async with self.database.session() as session:
            await session.merge(row)

    async def _revision(self) -> int:
        async with self.database.session() as session:
            return (await load_catalog(session)).revision


class _Watched(MemoryEngine):
    """An engine that remembers every path, and asks before it forgets a name."""

    def __init__(self, url: str, story: _Story) -> None:
        super().__init__(url)
        self.paths: dict[str, str] = {}
        self.story = story

    async def load(self, name: str, path: str) -> None:
        assert self.paths.setdefault(name, path) == path
        await super().load(name, path)

    async def unload(self, name: str) -> None:
        await self.story.check_unload(name)
        await super().unload(name)
