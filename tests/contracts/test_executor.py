"""What every executor promises: the real one, run on a tiny trainer, and the twin in memory."""

import asyncio
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from retrain.executor import (
    Executor,
    LocalExecutor,
    TrainingState,
    TrainingStatus,
)
from retrain.memory import MemoryExecutor
from retrain.spec import Progress
from serving.errors import ConfigurationError, NotFoundError
from tests.training import make_training

FAKE = Path(__file__).with_name("fake_trainer.py")
DEADLINE_SECONDS = 60


class World(Protocol):
    """An executor, and a hand on its trainers."""

    executor: Executor

    def restart(self) -> None:
        """Put another executor in the place of this one, as a restarted worker does."""

    def step(self, handle: str, number: int) -> None:
        """Let the trainer report a step."""

    def end(self, handle: str, state: TrainingState, words: str = "") -> None:
        """Let the trainer end."""


class LocalWorld:
    """Real processes."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget everything but the files."""
        self.executor: Executor = make_executor()

    def step(self, handle: str, number: int) -> None:
        """Order a step."""
        order(handle, f"step {number}")

    def end(self, handle: str, state: TrainingState, words: str = "") -> None:
        """Order an end."""
        orders = {
            TrainingState.DONE: "exit 0",
            TrainingState.FAILED: f"fail {words}",
            TrainingState.OUT_OF_MEMORY: "exit 4",
            TrainingState.LOST: "kill-all",
        }
        order(handle, orders[state])


class MemoryWorld:
    """Entries of a dictionary."""

    def __init__(self) -> None:
        self._memory = MemoryExecutor()
        self.executor: Executor = self._memory

    def restart(self) -> None:
        """The dictionary is what stays."""
        trainings, self._memory = self._memory.trainings, MemoryExecutor()
        self._memory.trainings = trainings
        self.executor = self._memory

    def step(self, handle: str, number: int) -> None:
        """Note a step."""
        status = self._memory.trainings[handle]
        self._memory.trainings[handle] = replace(status, progress=Progress(step=number))

    def end(self, handle: str, state: TrainingState, words: str = "") -> None:
        """Note an end."""
        status = self._memory.trainings[handle]
        self._memory.trainings[handle] = replace(status, state=state, message=words)


def make_executor(**fields: Any) -> LocalExecutor:
    """Return a real executor whose trainer obeys orders."""
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(FAKE))} {{spec}}"
    return LocalExecutor(command, **fields)


def order(handle: str, text: str) -> None:
    """Tell the fake trainer what to do next."""
    with Path(handle).with_name("orders").open("a") as file:
        file.write(f"{text}\n")


async def until(
    executor: Executor,
    handle: str,
    is_there: Callable[[TrainingStatus], bool],
    seconds: float = DEADLINE_SECONDS,
) -> TrainingStatus:
    """Poll until the status is as wanted."""
    async with asyncio.timeout(seconds):
        while True:
            status = await executor.poll(handle)
            if is_there(status):
                return status
            await asyncio.sleep(0.02)


@pytest.fixture(params=[LocalWorld, MemoryWorld])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """One of the two."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    made: World = request.param()
    return made


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
    """The spec of a training."""
    return make_training(tmp_path / "run", tmp_path / "no-base", num_rows=1)


async def test_a_submitted_training_runs_reports_and_is_done(world: World, spec_path: Path) -> None:
    """Running, with the newest progress; then done, for as long as anybody asks."""
    handle = await world.executor.submit(spec_path)
    assert (await world.executor.poll(handle)).state is TrainingState.RUNNING
    world.step(handle, 3)
    status = await until(world.executor, handle, lambda found: found.progress is not None)
    assert status.progress is not None
    assert (status.state, status.progress.step) == (TrainingState.RUNNING, 3)
    world.end(handle, TrainingState.DONE)
    await until(world.executor, handle, lambda found: found.state is TrainingState.DONE)
    assert (await world.executor.poll(handle)).state is TrainingState.DONE


@pytest.mark.parametrize("state", [TrainingState.FAILED, TrainingState.OUT_OF_MEMORY])
async def test_a_failure_keeps_its_words(
    world: World, spec_path: Path, state: TrainingState
) -> None:
    """Failed and out of memory are told apart, and the trainer's reason is passed on."""
    handle = await world.executor.submit(spec_path)
    world.end(handle, state, "the rows were broken")
    status = await until(world.executor, handle, lambda found: found.state is state)
    if state is TrainingState.FAILED:
        assert status.message == "the rows were broken"


async def test_a_cancelled_training_has_stopped(world: World, spec_path: Path) -> None:
    """When `cancel` returns it is over; to cancel again, or what has ended, changes nothing."""
    handle = await world.executor.submit(spec_path)
    world.step(handle, 1)
    await until(world.executor, handle, lambda found: found.progress is not None)
    await world.executor.cancel(handle)
    assert (await world.executor.poll(handle)).state is TrainingState.CANCELLED
    await world.executor.cancel(handle)
    assert (await world.executor.poll(handle)).state is TrainingState.CANCELLED


async def test_cancelling_what_is_done_leaves_it_done(world: World, spec_path: Path) -> None:
    """The end came first."""
    handle = await world.executor.submit(spec_path)
    world.end(handle, TrainingState.DONE)
    await until(world.executor, handle, lambda found: found.state is TrainingState.DONE)
    await world.executor.cancel(handle)
    assert (await world.executor.poll(handle)).state is TrainingState.DONE


async def test_another_worker_goes_on_with_a_handle(world: World, spec_path: Path) -> None:
    """A restarted worker finds it, polls, learns of its end, and starts nothing twice."""
    assert await world.executor.find(spec_path) is None
    handle = await world.executor.submit(spec_path)
    world.restart()
    assert await world.executor.find(spec_path) == handle
    assert (await world.executor.poll(handle)).state is TrainingState.RUNNING
    assert await world.executor.submit(spec_path) == handle
    world.restart()
    world.end(handle, TrainingState.DONE)
    await until(world.executor, handle, lambda found: found.state is TrainingState.DONE)


async def test_a_lost_training_can_be_submitted_again(world: World, spec_path: Path) -> None:
    """Killed with everything it belonged to: lost, under a handle that stays valid."""
    handle = await world.executor.submit(spec_path)
    world.end(handle, TrainingState.LOST)
    await until(world.executor, handle, lambda found: found.state is TrainingState.LOST)
    spec_path.with_name("orders").unlink(missing_ok=True)
    assert await world.executor.submit(spec_path) == handle
    assert (await world.executor.poll(handle)).state is TrainingState.RUNNING
    await world.executor.cancel(handle)


async def test_what_was_never_submitted_is_not_found(world: World, spec_path: Path) -> None:
    """Neither polled nor cancelled; and without a spec nothing is submitted."""
    with pytest.raises(NotFoundError):
        await world.executor.poll(str(spec_path))
    with pytest.raises(NotFoundError):
        await world.executor.cancel(str(spec_path))
    with pytest.raises(ConfigurationError):
        await world.executor.submit(spec_path.with_name("no.json"))
