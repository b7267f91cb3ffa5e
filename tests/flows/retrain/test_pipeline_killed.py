"""A worker that is killed, anywhere: the run goes on, and nothing is made twice."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.learn import advance_runs
from serving.store.learning import Dataset, Run, RunState, Trigger
from serving.store.tables import Adapter, Promotion
from tests.learning import World


class Killed(BaseException):
    """The worker dies here: nothing in it can catch that."""


class Fate:
    """Kills once at every place in our code that waits for something outside of it."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, ...]] = set()

    def strikes(self, what: str) -> None:
        """Raise, the first time that this place is reached."""
        frame, places = sys._getframe(2), [what]
        while frame is not None:
            file = Path(frame.f_code.co_filename)
            if file.parent.name in ("retrain", "fleet", "store"):
                places.append(f"{file.name}:{frame.f_lineno}")
            frame = frame.f_back  # type: ignore[assignment]
        place = tuple(places)
        if place not in self.seen:
            self.seen.add(place)
            raise Killed(what)

    def around(self, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return the work with a death before it and one after it."""

        async def mortal(*args: Any, **kwargs: Any) -> Any:
            self.strikes(f"before {work.__name__}")
            result = await work(*args, **kwargs)
            self.strikes(f"after {work.__name__}")
            return result

        return mortal


async def test_a_worker_killed_anywhere_leaves_a_run_that_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once at every commit, load and call of the trainer: one release, one promotion."""
    await world.import_all()
    run = await world.queue(Trigger.PERIOD, period="2026Q4")
    fate = Fate()
    monkeypatch.setattr(AsyncSession, "commit", fate.around(AsyncSession.commit))
    for twin, names in (
        (world.executor, ("submit", "poll")),
        (world.engine, ("load", "probe", "list_adapters")),
    ):
        for name in names:
            monkeypatch.setattr(twin, name, fate.around(getattr(twin, name)))
    num_deaths = 0
    for _ in range(500):
        with monkeypatch.context() as calm:
            calm.setattr(Fate, "strikes", lambda *_: None)
            found = await world.run(run.id)
        if found.ended_at is not None:
            break
        if found.state is RunState.TRAINING:
            world.finish_training(found)
        try:
            await advance_runs(world.shop)
        except Killed:
            num_deaths += 1
    monkeypatch.undo()
    assert num_deaths > 30
    found = await world.run(run.id)
    assert (found.state, found.error) == (RunState.PASSED, None)
    assert await world.champion() == 2
    async with world.database.session() as session:
        for table, count in ((Adapter, 1), (Promotion, 1), (Dataset, 1), (Run, 1)):
            assert len((await session.exec(select(table))).all()) == count, table
    assert len(await world.releases()) == 2
    assert len(list(world.settings.adapter_dir.iterdir())) == 1
    assert len(list(world.settings.dataset_dir.iterdir())) == 1


async def test_runs_do_not_wait_for_each_other(world: World) -> None:
    """Of two workers at once, one advances a run; and nothing is done twice."""
    await world.import_all()
    run = await world.queue(Trigger.PERIOD, period="2026Q4")
    for _ in range(20):
        found = await world.run(run.id)
        if found.state is RunState.TRAINING:
            world.finish_training(found)
        await asyncio.gather(*(advance_runs(world.shop) for _ in range(3)))
    assert (await world.run(run.id)).state is RunState.PASSED
    assert len(await world.releases()) == 2
