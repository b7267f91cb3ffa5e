"""The life of a run: from queued to its end, whatever happens on the way."""

import asyncio
from pathlib import Path

import httpx
import pytest
from sqlmodel import select

from retrain import shop
from retrain.executor import TrainingState
from retrain.learn import advance_runs
from retrain.pipeline import MAX_RESTARTS, MAX_TRIES
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


@pytest.mark.parametrize("num_failures", [3, MAX_TRIES])
async def test_a_failure_that_nobody_foresaw_is_told_and_not_tried_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch, num_failures: int
) -> None:
    """A full disk under the trainer's files: the run says so, goes on after it, or ends with it."""
    monkeypatch.setattr(shop, "pause_seconds", lambda num: 0.0)
    let_submit_fail(world, monkeypatch, num_failures)
    await world.import_all()
    run = await world.queue()
    for _ in range(2):
        await advance_runs(world.shop)
    assert "No space left" in ((await world.run(run.id)).error or "")
    if num_failures < MAX_TRIES:
        assert await world.advance_to(run, RunState.PASSED)
    else:
        run = await world.advance_to(run, RunState.FAILED)
        assert f"failed {MAX_TRIES} times in a row. OSError" in (run.error or "")


async def test_a_run_that_failed_rests(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not tried at every call; a cancel does not wait for its next try."""
    monkeypatch.setattr(shop, "pause_seconds", lambda num: 3600.0)
    let_submit_fail(world, monkeypatch, 1)
    await world.import_all()
    run = await world.queue()
    for _ in range(5):
        await advance_runs(world.shop)
    assert (await world.run(run.id)).state is RunState.QUEUED
    async with world.database.session() as session:
        await cancel_run(session, run.id or 0)
    await advance_runs(world.shop)
    assert (await world.run(run.id)).state is RunState.CANCELLED
    assert world.shop.patience == {}


async def test_a_trainer_that_a_shutdown_stopped_goes_on(world: World) -> None:
    """SIGTERM that no cancel sent, from a reboot or `systemctl stop`: the run is not cancelled."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.TRAINING)
    world.end_training(run, TrainingState.CANCELLED, "The trainer was told to stop.")
    await advance_runs(world.shop)
    assert await world.advance_to(run, RunState.PASSED)


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
    assert "lost 6 times, and never got beyond step 9. signal 9" in (run.error or "")


async def test_a_lost_trainer_that_comes_further_each_time_is_not_given_up(world: World) -> None:
    """`strop up` was restarted ever again during a long training: that is no fault of the run."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.TRAINING)
    for step in range(1, MAX_RESTARTS + 3):
        world.end_training(run, TrainingState.LOST, "signal 9", step=step)
        await advance_runs(world.shop)
    run = await world.run(run.id)
    assert (run.state, run.num_restarts) == (RunState.TRAINING, 1)


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
    run = await world.advance_until(run, lambda found: found.state is RunState.PASSED)
    assert run.ended_at is None
    world.engine.is_down = True
    await advance_runs(world.shop)
    assert await world.champion() == 1
    world.engine.restart()
    run = await world.advance_to(run, RunState.PASSED)
    assert (await world.champion(), run.error) == (2, None)


async def test_a_winner_that_an_engine_refuses_is_not_offered_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each offer makes the catalogue new twice: after so many it stays a candidate that passed."""
    monkeypatch.setattr(shop, "pause_seconds", lambda num: 0.0)
    await world.import_all()
    run = await world.queue(Trigger.PERIOD, period="2026Q4")
    run = await world.advance_until(run, lambda found: found.state is RunState.PASSED)
    world.engine.fail_probe = "out of memory"
    run = await world.advance_to(run, RunState.PASSED)
    assert f"failed {MAX_TRIES} times in a row" in (run.error or "")
    assert "out of memory" in (run.error or "")
    assert await world.champion() == 1
    assert [release.state.value for release in await world.releases()] == ["champion", "candidate"]


async def test_another_walk_of_the_alias_is_waited_for(world: World) -> None:
    """Somebody promotes or rolls back in the moment of the swap: the win is not lost."""
    await world.import_all()
    run = await world.queue(Trigger.PERIOD, period="2026Q4")
    await world.advance_until(run, lambda found: found.state is RunState.PASSED)
    async with world.database.lock(f"alias/{world.alias.id}"):
        await advance_runs(world.shop)
    waiting = await world.run(run.id)
    assert waiting.ended_at is None
    assert "under way" in (waiting.error or "")
    ended = await world.advance_to(run, RunState.PASSED)
    assert (await world.champion(), ended.error) == (2, None)


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


def let_submit_fail(world: World, monkeypatch: pytest.MonkeyPatch, num_failures: int) -> None:
    """Let the first calls find no room on the disk."""
    failures = [OSError(28, "No space left on device")] * num_failures
    submit = world.executor.submit

    async def submit_if_there_is_room(spec_path: Path) -> str:
        if failures:
            raise failures.pop()
        return await submit(spec_path)

    monkeypatch.setattr(world.executor, "submit", submit_if_there_is_room)
