"""The local executor on trainers that misbehave."""

import fcntl
import os
import time
from pathlib import Path

import pytest

from retrain.executor import LocalExecutor, TrainingState
from tests.contracts.test_executor import make_executor, order, until
from tests.training import ROOT, make_training


@pytest.fixture
def spec_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The spec of a training."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return make_training(tmp_path / "run", tmp_path / "no-base", num_rows=1)


async def test_a_trainer_killed_alone_is_lost(spec_path: Path) -> None:
    """The kernel's out-of-memory killer takes the trainer; its keeper writes down by which signal."""
    executor = make_executor()
    handle = await executor.submit(spec_path)
    order(handle, "kill")
    status = await until(executor, handle, lambda found: found.state is TrainingState.LOST)
    assert "signal 9" in status.message


async def test_a_trainer_whose_end_could_not_be_written_is_lost_with_its_words(
    spec_path: Path,
) -> None:
    """A full disk keeps the keeper from writing the exit code; a folder in its way does too."""
    spec_path.with_name(".trainer.exit").mkdir()
    executor = make_executor()
    handle = await executor.submit(spec_path)
    order(handle, "fail the disk is full")
    status = await until(executor, handle, lambda found: found.state is TrainingState.LOST)
    assert "the disk is full" in status.message


async def test_a_trainer_that_could_not_be_found_again_is_not_left_running(
    spec_path: Path,
) -> None:
    """A full disk keeps its number from being written, and a cancel from stopping it: it ends now."""
    in_the_way = spec_path.with_name(".trainer.pid.draft")
    in_the_way.mkdir()
    executor = make_executor()
    with pytest.raises(OSError, match="directory"):
        await executor.submit(spec_path)
    await until(executor, str(spec_path), lambda found: found.state is TrainingState.LOST)
    await executor.cancel(str(spec_path))
    in_the_way.rmdir()
    handle = await executor.submit(spec_path)
    assert (await executor.poll(handle)).state is TrainingState.RUNNING
    await executor.cancel(handle)


async def test_an_earlier_trainers_number_is_forgotten_first(spec_path: Path) -> None:
    """It may be somebody else's by now, whom a cancel would stop before the new one is written."""
    number = spec_path.with_name("trainer.pid")
    number.write_text("4194305\n")  # no process's, ever
    for draft in (".trainer.pid", ".trainer.pid.draft"):  # so that nobody can write the new one
        spec_path.with_name(draft).mkdir()
    with pytest.raises(OSError, match="directory"):
        await make_executor().submit(spec_path)
    assert not number.exists()


async def test_a_trainer_whose_number_is_not_written_yet_runs(spec_path: Path) -> None:
    """Whoever asks just then, after any silence: it has not had its first moment."""
    with spec_path.with_name("trainer.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = await make_executor(heartbeat_seconds=0).poll(str(spec_path))
        assert status.state is TrainingState.RUNNING
        await make_executor(grace_seconds=0).cancel(str(spec_path))


async def test_a_silent_trainer_is_killed(spec_path: Path) -> None:
    """No progress for longer than the heartbeat: it hangs, and is killed with all its children.

    It is gone by then: who starts it again starts it.
    """
    handle = await make_executor().submit(spec_path)
    order(handle, "step 1")
    executor = make_executor(heartbeat_seconds=600)
    await until(executor, handle, lambda found: found.progress is not None)
    long_ago = time.time() - 601
    for name in ("progress.jsonl", "trainer.pid"):
        os.utime(spec_path.with_name(name), (long_ago, long_ago))
    status = await executor.poll(handle)
    assert status.state is TrainingState.LOST
    assert "silent for 600 seconds" in status.message
    spec_path.with_name("orders").unlink()
    await executor.submit(spec_path)
    assert (await executor.poll(handle)).state is TrainingState.RUNNING
    await executor.cancel(handle)


async def test_a_trainer_deaf_to_sigterm_is_killed(spec_path: Path) -> None:
    """After the grace it is killed, and counts as cancelled all the same."""
    executor = make_executor(grace_seconds=0.5)
    handle = await executor.submit(spec_path)
    order(handle, "ignore-term")
    await until(executor, handle, lambda found: found.progress is not None)
    await executor.cancel(handle)
    assert (await executor.poll(handle)).state is TrainingState.CANCELLED


async def test_a_trainer_that_cannot_start_has_failed_with_its_log(spec_path: Path) -> None:
    """What the shell or the interpreter printed is all there is to say."""
    executor = LocalExecutor("python -c 'raise SystemExit(\"no such thing\")' {spec}")
    handle = await executor.submit(spec_path)
    status = await until(executor, handle, lambda found: found.state is TrainingState.FAILED)
    assert "no such thing" in status.message


async def test_a_trainer_gets_no_secret_of_ours(
    spec_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any program may be the trainer: it is told neither the database's password nor a key."""
    for name in ("STROP_STORE__URL", "PGPASSWORD", "HOSTED_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "x")
    executor = make_executor(secrets=frozenset({"HOSTED_KEY"}))
    handle = await executor.submit(spec_path)
    order(handle, "tell-environment")
    status = await until(executor, handle, lambda found: found.progress is not None)
    await executor.cancel(handle)
    assert status.progress is not None
    told = (status.progress.message or "").split()
    assert "HF_TOKEN" in told
    assert {"STROP_STORE__URL", "PGPASSWORD", "HOSTED_KEY"}.isdisjoint(told)
