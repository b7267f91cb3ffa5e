"""The life of a run: from queued to its end, whatever happens on the way."""

import asyncio

import httpx
import pytest
from sqlmodel import select

from retrain.executor import TrainingState
from retrain.learn import advance_runs
from serving.errors import ConflictError
from serving.fleet.reconcile import reconcile
from serving.store.aliases import create_alias, id_of
from serving.store.learning import Dataset, DatasetRow, Run, RunState, Split, Trigger
from serving.store.runs import cancel_run, create_run
from serving.store.tables import Promotion
from serving.types import Task
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


@pytest.mark.parametrize("end", [TrainingState.FAILED, TrainingState.OUT_OF_MEMORY])
async def test_a_trainer_that_ends_badly_ends_the_run_with_its_words(
    world: World, end: TrainingState
) -> None:
    """The champion is untouched; another run can begin."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.TRAINING)
    world.end_training(run, end, "loss is NaN\0")
    await advance_runs(world.shop)
    run = await world.run(run.id)
    assert (run.state, run.error) == (RunState.FAILED, "loss is NaN")
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


async def test_of_two_runs_one_trains_and_the_other_says_what_it_waits_for(world: World) -> None:
    """As many trainers as `train.max_at_once`, 1, at a time; the next begins when one has ended."""
    await world.import_all()
    first = await world.queue()
    second = await queue_elsewhere(world)
    first = await world.advance_to(first, RunState.TRAINING)
    for _ in range(2):
        await advance_runs(world.shop)
    second = await world.run(second.id)
    assert (second.state, second.dataset_id) == (RunState.QUEUED, None)
    assert "`train.max_at_once` is 1" in (second.error or "")
    await world.advance_to(first, RunState.EVALUATING)
    second = await world.advance_to(second, RunState.FAILED)
    assert "0 training rows" in (second.error or "")


async def test_no_run_waits_for_another_ones_step(world: World) -> None:
    """While one is evaluated for minutes, another begins and comes to its end; then the worker stops."""
    answering, never = asyncio.Event(), asyncio.Event()

    async def hang() -> httpx.Response:
        answering.set()
        await never.wait()
        return httpx.Response(500)

    await world.import_all()
    first = await world.advance_to(await world.queue(), RunState.EVALUATING)
    world.answer = lambda body: hang()
    advancing = asyncio.create_task(advance_runs(world.shop))
    async with asyncio.timeout(60):
        await answering.wait()
        second = await queue_elsewhere(world)
        while second.ended_at is None:
            await asyncio.sleep(0.05)
            second = await world.run(second.id)
    assert not advancing.done()
    advancing.cancel()
    await asyncio.wait([advancing])
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert (await world.run(first.id)).state is RunState.EVALUATING


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


@pytest.mark.parametrize(
    "state", [RunState.QUEUED, RunState.TRAINING, RunState.EVALUATING, RunState.PASSED]
)
async def test_a_run_is_cancelled_in_any_state(world: World, state: RunState) -> None:
    """Its trainer is stopped, nothing is promoted, and what has ended cannot be cancelled."""
    await world.import_all()
    run = await world.queue(Trigger.PERIOD, period="2026Q4")
    run = await world.advance_until(run, lambda found: found.state is state)
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


async def queue_elsewhere(world: World) -> Run:
    """Queue a run of another alias, which has no rows."""
    async with world.database.session() as session:
        zebra = await create_alias(
            session, world.settings, name="zebra", tenant="acme", task=Task.CLASSIFY
        )
        run = await create_run(
            session, id_of(zebra), trigger=Trigger.PERIOD, reason="a test", actor="worker"
        )
    assert run is not None
    return run
