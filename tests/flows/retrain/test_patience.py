"""What stands in a run's way: it is waited for, tried again, or given up, and the run says so."""

from pathlib import Path

import pytest

from retrain import shop
from retrain.executor import TrainingState
from retrain.learn import advance_runs
from retrain.pipeline import MAX_RESTARTS, MAX_TRIES
from serving.store.learning import RunState, Trigger
from serving.store.runs import cancel_run
from tests.learning import World


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
    """It is not tried at every call; a cancel waits for no next try, nor for room on the disk."""
    monkeypatch.setattr(shop, "pause_seconds", lambda num: 3600.0)
    let_submit_fail(world, monkeypatch, MAX_TRIES)
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


def let_submit_fail(world: World, monkeypatch: pytest.MonkeyPatch, num_failures: int) -> None:
    """Let the first calls find no room on the disk."""
    failures = [OSError(28, "No space left on device")] * num_failures
    submit = world.executor.submit

    async def submit_if_there_is_room(spec_path: Path) -> str:
        if failures:
            raise failures.pop()
        return await submit(spec_path)

    monkeypatch.setattr(world.executor, "submit", submit_if_there_is_room)
