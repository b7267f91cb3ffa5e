"""The life of a run: from queued to its end, whatever happens on the way."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.executor import TrainingState
from retrain.learn import advance_runs
from retrain.pipeline import MAX_RESTARTS
from serving.errors import ConflictError
from serving.fleet import swap
from serving.fleet.reconcile import reconcile
from serving.store.learning import Dataset, DatasetRow, Evaluation, Run, RunState, Split, Trigger
from serving.store.runs import cancel_run
from serving.store.tables import Adapter, Promotion
from tests.learning import FIRST_HELD_OUT, World, tickets


async def test_a_better_candidate_goes_all_the_way(world: World) -> None:
    """Import, train, evaluate, gate, swap: the triggered run's adapter serves; lineage is whole."""
    await world.import_all()
    run = await world.queue(Trigger.PERIOD, period="2026Q4")
    run = await world.advance_to(run, RunState.PASSED)
    assert run.verdict is not None
    assert await world.champion() == 2
    assert (run.verdict["champion_score"], run.verdict["candidate_score"]) == (0.2, 0.9)
    assert (run.verdict["num_better"], run.verdict["num_worse"]) == (350, 0)
    assert set(run.verdict["evaluations"]) == {"base", "champion", "candidate"}
    assert (run.error, run.progress["step"]) == (None, 9)
    async with world.database.session() as session:
        promotion = (await session.exec(select(Promotion))).one()
        rows = (await session.exec(select(DatasetRow))).all()
        dataset = (await session.exec(select(Dataset))).one()
    assert (promotion.actor, promotion.is_forced) == (f"run {run.id}", False)
    assert promotion.reason == run.verdict["reason"]
    assert len(rows) == dataset.num_train + dataset.num_valid == 200
    assert await world.engine.list_adapters() != {}


async def test_a_run_asked_for_by_hand_leaves_a_candidate(world: World) -> None:
    """It passes, and a person promotes."""
    await world.import_all()
    await world.advance_to(await world.queue(), RunState.PASSED)
    assert await world.champion() == 1
    assert [release.state.value for release in await world.releases()] == ["champion", "candidate"]


async def test_a_worse_candidate_is_rejected_with_its_numbers(world: World) -> None:
    """Shuffled labels: the champion stays, and the verdict says by how much it is better."""
    await world.import_all()
    world.next_skill = 0.1
    run = await world.queue(Trigger.PERIOD, period="2026Q4")
    run = await world.advance_to(run, RunState.REJECTED)
    assert run.verdict is not None
    assert await world.champion() == 1
    assert "better on 0 items and worse on 50 of 500" in run.verdict["reason"]


async def test_too_few_rows_fail_with_the_count_missing(world: World) -> None:
    """Nothing is trained, nothing frozen."""
    await world.import_rows(tickets(0, 60), Split.TRAIN)
    await world.import_rows(tickets(FIRST_HELD_OUT, 500), Split.EVAL)
    run = await world.advance_to(await world.queue(), RunState.FAILED)
    assert run.error is not None
    assert "54 training rows" in run.error
    assert "46 are missing" in run.error
    assert world.executor.trainings == {}
    assert not list(world.settings.dataset_dir.glob("*"))


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (TrainingState.FAILED, RunState.FAILED),
        (TrainingState.OUT_OF_MEMORY, RunState.FAILED),
        (TrainingState.CANCELLED, RunState.CANCELLED),
    ],
)
async def test_a_trainer_that_ends_badly_ends_the_run_with_its_words(
    world: World, end: TrainingState, state: RunState
) -> None:
    """The champion is untouched; another run can begin."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.TRAINING)
    world.end_training(run, end, "loss is NaN\0")
    await advance_runs(world.shop)
    run = await world.run(run.id)
    assert (run.state, run.error) == (state, "loss is NaN")
    assert [release.number for release in await world.releases()] == [1]
    await world.queue()


async def test_a_broken_adapter_is_not_registered(world: World) -> None:
    """The trainer says done, and its folder cannot be served: failed, and nothing is left of it."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.TRAINING)
    world.finish_training(run)
    (world.settings.run_dir / str(run.id) / "adapter" / "adapter_model.safetensors").write_text("x")
    await advance_runs(world.shop)
    assert (await world.run(run.id)).state is RunState.FAILED
    assert [release.number for release in await world.releases()] == [1]
    assert not list(world.settings.adapter_dir.glob("*"))


async def test_a_lost_trainer_goes_on_but_not_for_ever(world: World) -> None:
    """Killed at random: started again under the same spec. Killed ever again: failed."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.TRAINING)
    for number in range(MAX_RESTARTS):
        world.end_training(run, TrainingState.LOST, "signal 9")
        await advance_runs(world.shop)
        run = await world.run(run.id)
        assert (run.state, run.num_restarts) == (RunState.TRAINING, number + 1)
        assert run.handle is not None
        assert world.executor.trainings[run.handle].state is TrainingState.RUNNING
    world.end_training(run, TrainingState.LOST, "signal 9")
    await advance_runs(world.shop)
    run = await world.run(run.id)
    assert run.state is RunState.FAILED
    assert "lost 6 times. signal 9" in (run.error or "")


async def test_an_engine_that_is_away_is_waited_for(world: World) -> None:
    """Away during evaluation, and away again before the swap: the run says so, and goes on later."""
    await world.import_all()
    run = await world.queue(Trigger.PERIOD, period="2026Q4")
    run = await world.advance_to(run, RunState.EVALUATING)
    world.engine.is_down = True
    for _ in range(3):
        await advance_runs(world.shop)
    run = await world.run(run.id)
    assert run.state is RunState.EVALUATING
    assert "healthy" in (run.error or "")
    world.engine.restart()
    for _ in range(20):
        await advance_runs(world.shop)
        run = await world.run(run.id)
        if run.state is RunState.PASSED:
            break
    assert run.ended_at is None
    world.engine.is_down = True
    await advance_runs(world.shop)
    assert await world.champion() == 1
    world.engine.restart()
    run = await world.advance_to(run, RunState.PASSED)
    assert (await world.champion(), run.error) == (2, None)


async def test_the_reconciler_leaves_a_candidate_loaded(world: World) -> None:
    """Between the questions of an evaluation its adapter stays; after a rejection it goes."""
    await world.import_all()
    world.next_skill = 0.1
    run = await world.advance_to(await world.queue(), RunState.EVALUATING)
    for _ in range(2):
        await advance_runs(world.shop)
        await reconcile(world.database, world.settings, world.shop.engines)
    assert len(await world.engine.list_adapters()) == 1
    assert world.engine.unloads == []
    await world.advance_to(run, RunState.REJECTED)
    await reconcile(world.database, world.settings, world.shop.engines)
    assert await world.engine.list_adapters() == {}


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.TRAINING, RunState.EVALUATING])
async def test_a_run_is_cancelled_in_any_state(world: World, state: RunState) -> None:
    """Its trainer is stopped, nothing is promoted, and what has ended cannot be cancelled."""
    await world.import_all()
    run = await world.queue(Trigger.PERIOD, period="2026Q4")
    run = await world.advance_to(run, state)
    async with world.database.session() as session:
        await cancel_run(session, run.id or 0)
    await advance_runs(world.shop)
    run = await world.run(run.id)
    assert run.state is RunState.CANCELLED
    assert await world.champion() == 1
    running = [one.state for one in world.executor.trainings.values()]
    assert TrainingState.RUNNING not in running
    async with world.database.session() as session:
        with pytest.raises(ConflictError, match="has ended already"):
            await cancel_run(session, run.id or 0)


async def test_a_run_whose_folder_is_gone_can_still_be_cancelled(world: World) -> None:
    """There is nothing left to stop."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.TRAINING)
    world.executor.trainings.clear()
    async with world.database.session() as session:
        await cancel_run(session, run.id or 0)
    await advance_runs(world.shop)
    assert (await world.run(run.id)).state is RunState.CANCELLED


async def test_a_changed_dataset_is_not_trained_on(world: World) -> None:
    """A dataset that was asked for is what was frozen, or the run fails and names the file."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.PASSED)
    (file,) = world.settings.dataset_dir.glob("*/train.jsonl")
    file.write_text(file.read_text() + "{}\n")
    again = await world.queue(dataset_id=run.dataset_id)
    again = await world.advance_to(again, RunState.FAILED)
    assert "not what was frozen" in (again.error or "")


async def test_a_new_champion_meanwhile_means_a_new_judgement(world: World) -> None:
    """The candidate is held against who serves at the end, not at the beginning."""
    await world.import_all()
    first = await world.advance_to(await world.queue(), RunState.PASSED)
    second = await world.queue(Trigger.PERIOD, period="2026Q4")
    second = await world.advance_to(second, RunState.EVALUATING)
    await advance_runs(world.shop)
    await swap.promote(
        world.database,
        world.settings,
        world.shop.engines,
        world.alias.id or 0,
        2,
        actor="console",
        reason="",
        is_forced=False,
    )
    second = await world.advance_to(second, RunState.REJECTED)
    assert second.verdict is not None
    assert second.verdict["evaluations"]["champion"]["release"] == 2
    assert (await world.champion(), second.champion_id) == (2, first.release_id)


async def test_a_quality_run_is_judged_on_fresh_items(world: World) -> None:
    """Better, but on items from before the fall: rejected, and the verdict says so."""
    await world.import_all()
    fell_at = (await world.queue()).created_at
    (first,) = await world.runs()
    async with world.database.session() as session:
        await cancel_run(session, first.id or 0)
    await advance_runs(world.shop)
    run = await world.queue(Trigger.QUALITY, fell_at=fell_at)
    run = await world.advance_to(run, RunState.REJECTED)
    assert run.verdict is not None
    assert run.verdict["num_fresh_items"] == 0
    assert (
        "0 evaluation items are dated after quality fell; 300 are needed" in (run.verdict["reason"])
    )


async def test_items_that_an_engine_refuses_are_wrong_answers(world: World) -> None:
    """One too long for the model is counted and wrong; if it takes none, the run fails."""
    await world.import_all()

    def refuse_some(body: dict[str, Any]) -> httpx.Response:
        if body["messages"][-1]["content"].endswith("0"):
            return httpx.Response(400, json={"error": {"message": "too long"}})
        return world._answer_from_table(body)

    world.answer = refuse_some
    run = await world.advance_to(await world.queue(), RunState.PASSED)
    assert run.verdict is not None
    assert run.verdict["evaluations"]["candidate"]["num_refused"] == 50

    world.answer = lambda body: httpx.Response(400, json={"error": {"message": "no template"}})
    run = await world.advance_to(await world.queue(), RunState.FAILED)
    assert "no template" in (run.error or "")


async def test_an_engine_that_talks_nonsense_is_waited_for(world: World) -> None:
    """An answer without an answer in it, and a 500: not a result, and not a crash."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.EVALUATING)
    for reply in (httpx.Response(200, text="<html>"), httpx.Response(500)):
        world.answer = lambda body, reply=reply: reply
        await advance_runs(world.shop)
        run = await world.run(run.id)
        assert (run.state, bool(run.error)) == (RunState.EVALUATING, True)
    async with world.database.session() as session:
        assert (await session.exec(select(Evaluation))).all() == []


class Killed(Exception):  # noqa: N818 - what happens to a worker
    """The worker dies here."""


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
