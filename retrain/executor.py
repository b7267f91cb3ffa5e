"""Where trainings run: submit a spec, poll it, cancel it. Here, or wherever another executor does."""

import asyncio
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from retrain.spec import Exit, Progress, last_progress, read_spec
from serving.errors import NotFoundError
from serving.fleet.launch import without_secrets

_LOCK, _PID, _EXIT, _LOG = "trainer.lock", "trainer.pid", "trainer.exit", "trainer.log"
_LOG_LINES_SHOWN: Final = 5
_POLL_SECONDS: Final = 0.1
_SIGNALLED: Final = 128  # a shell's exit code for "died of signal n" is 128 + n

_KEEPER: Final = """
trap : TERM
echo $$ > .trainer.pid && mv .trainer.pid trainer.pid
"$@"
code=$?
echo $code > .trainer.exit && mv .trainer.exit trainer.exit
"""
"""Outlives the trainer by a moment to write down how it ended, whoever started it has died or not."""


class TrainingState(StrEnum):
    """Where a submitted training stands."""

    RUNNING = "running"
    DONE = "done"  # the adapter's folder is there
    FAILED = "failed"  # will fail again if nothing changes
    CANCELLED = "cancelled"  # told to stop, by us or by the machine's shutdown
    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"  # killed, hung, or the machine went down: submit again, it goes on


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """What a poll found.

    Attributes:
        state: where it stands.
        progress: the newest that the trainer reported; None before its first report.
        message: why it ended, for people; empty while it runs and when it is done.
    """

    state: TrainingState
    progress: Progress | None = None
    message: str = ""


class Executor(Protocol):
    """Runs trainers. A handle may be kept and used by another process, after any restart."""

    async def submit(self, spec_path: Path) -> str:
        """Start a training and return its handle; one that runs already is not started twice.

        Raises:
            ConfigurationError: there is no readable spec.
        """

    async def find(self, spec_path: Path) -> str | None:
        """Return the handle of what was submitted with this spec, however it stands; else None."""

    async def poll(self, handle: str) -> TrainingStatus:
        """Say where a training stands.

        Raises:
            NotFoundError: nothing was ever submitted under this handle.
        """

    async def cancel(self, handle: str) -> None:
        """Stop a training and wait until it has; one that has ended stays as it ended.

        Raises:
            NotFoundError: nothing was ever submitted under this handle.
        """


class LocalExecutor:
    """Runs trainers on this machine, each in a session of its own.

    A training's handle is the path of its spec; its state is in files beside it, so that it survives
    this process: `trainer.lock` is locked as long as the trainer or its keeper lives, `trainer.pid`
    is its process group, `trainer.exit` how it ended, `trainer.log` what it printed.

    Args:
        command: as in `train.command`; `{spec}` stands for the spec's path.
        secrets: names of variables that are no trainer's business, beside the database's.
        heartbeat_seconds: a trainer that is silent for longer counts as hung, and is killed.
        grace_seconds: how long a cancelled trainer may take before it is killed.
    """

    def __init__(
        self,
        command: str = "python -m retrain.train {spec}",
        *,
        secrets: Collection[str] = (),
        heartbeat_seconds: float = 900,
        grace_seconds: float = 30,
    ) -> None:
        self._command = command
        self._secrets = secrets
        self._heartbeat_seconds = heartbeat_seconds
        self._grace_seconds = grace_seconds

    async def submit(self, spec_path: Path) -> str:
        """Start the trainer, unless it runs."""
        return await asyncio.to_thread(self._submit, spec_path)

    async def find(self, spec_path: Path) -> str | None:
        """Look for the lock."""
        is_submitted = await asyncio.to_thread((spec_path.parent / _LOCK).exists)
        return str(spec_path) if is_submitted else None

    async def poll(self, handle: str) -> TrainingStatus:
        """Read the files beside the spec; kill what is hung."""
        return await asyncio.to_thread(self._poll, _folder(handle), Path(handle))

    async def cancel(self, handle: str) -> None:
        """Send SIGTERM, and SIGKILL if that is not enough."""
        await asyncio.to_thread(self._cancel, _folder(handle))

    def _submit(self, spec_path: Path) -> str:
        read_spec(spec_path)
        folder = spec_path.parent
        with (folder / _LOCK).open("ab") as lock, (folder / _LOG).open("ab") as log:
            if _is_locked(lock.fileno()):
                return str(spec_path)
            for told in (_EXIT, _PID):  # the number of an earlier one may be somebody else's by now
                (folder / told).unlink(missing_ok=True)
            child = subprocess.Popen(  # noqa: S603 - the operator's own command
                ["/bin/sh", "-c", _KEEPER, "keeper", *self._arguments(spec_path)],
                cwd=folder,
                env=without_secrets(os.environ, self._secrets),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # The children inherit the lock and hold it until the last of them is gone.
                pass_fds=(lock.fileno(),),
            )
            # A child has to be waited for by whoever started it, or it stays as a zombie.
            threading.Thread(target=child.wait, daemon=True).start()
            try:
                # The keeper writes the same number, in case we die here; we, in case it is slow.
                draft = folder / f".{_PID}.draft"
                draft.write_text(f"{child.pid}\n")
                draft.replace(folder / _PID)
            except OSError:  # a full disk: nobody could find it later to stop it
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                raise
        return str(spec_path)

    def _arguments(self, spec_path: Path) -> list[str]:
        program, *rest = shlex.split(self._command)
        # The Python that runs us is the one that has our packages; PATH may know another.
        program = sys.executable if program == "python" else program
        return [part.replace("{spec}", str(spec_path)) for part in (program, *rest)]

    def _poll(self, folder: Path, spec_path: Path) -> TrainingStatus:
        is_alive = _is_alive(folder)
        progress_file = Path(read_spec(spec_path).progress_file)
        progress = last_progress(progress_file)
        code = _exit_code(folder)
        if code is not None:
            return _ended(code, progress, folder)
        if not is_alive:
            # Its keeper wrote down no end: it was killed too, or the disk was full.
            words = f"The trainer died. {_last_words(progress, folder)}".rstrip()
            return TrainingStatus(TrainingState.LOST, progress, words)
        if _silence(folder, progress_file) > self._heartbeat_seconds:
            _signal(folder, signal.SIGKILL)
            # Not lost before it is gone: as long as it dies, no other can be started.
            if _wait_for_end(folder, self._grace_seconds):
                seconds = f"{self._heartbeat_seconds:g} seconds"
                words = f"The trainer was silent for {seconds}; it was killed."
                return TrainingStatus(TrainingState.LOST, progress, words)
        return TrainingStatus(TrainingState.RUNNING, progress)

    def _cancel(self, folder: Path) -> None:
        if not _is_alive(folder):
            return
        _signal(folder, signal.SIGTERM)
        if _wait_for_end(folder, self._grace_seconds):
            return
        _signal(folder, signal.SIGKILL)
        _wait_for_end(folder, self._grace_seconds)
        (folder / _EXIT).write_text(f"{Exit.CANCELLED}\n")


def _folder(handle: str) -> Path:
    folder = Path(handle).parent
    if not (folder / _LOCK).exists():
        raise unknown_training(handle)
    return folder


def unknown_training(handle: str) -> NotFoundError:
    """Return the error for a handle that nobody was given."""
    return NotFoundError(f"No training was submitted as {handle}.")


def _is_locked(descriptor: int) -> bool:
    """Whether somebody else holds the lock; if not, this descriptor holds it now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_alive(folder: Path) -> bool:
    with (folder / _LOCK).open("rb") as lock:
        return _is_locked(lock.fileno())


def _exit_code(folder: Path) -> int | None:
    try:
        return int((folder / _EXIT).read_text())
    except FileNotFoundError:
        return None


def _ended(code: int, progress: Progress | None, folder: Path) -> TrainingStatus:
    words = _last_words(progress, folder)
    match code:
        case Exit.DONE:
            return TrainingStatus(TrainingState.DONE, progress)
        case Exit.CANCELLED | 143:  # 143: a trainer that leaves SIGTERM to its default
            return TrainingStatus(
                TrainingState.CANCELLED, progress, "The trainer was told to stop."
            )
        case Exit.OUT_OF_MEMORY:
            return TrainingStatus(TrainingState.OUT_OF_MEMORY, progress, words)
        case _ if code > _SIGNALLED:
            words = f"The trainer died of signal {code - _SIGNALLED}. {_end_of_log(folder)}"
            return TrainingStatus(TrainingState.LOST, progress, words.strip())
        case _:
            return TrainingStatus(TrainingState.FAILED, progress, words)


def _last_words(progress: Progress | None, folder: Path) -> str:
    """Return why the trainer failed, if it could say so; else what it printed last."""
    return (progress and progress.error) or _end_of_log(folder)


def _end_of_log(folder: Path) -> str:
    lines = (folder / _LOG).read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES_SHOWN:])


def _silence(folder: Path, progress_file: Path) -> float:
    """Seconds since the trainer last reported, or since it was started; 0 when it only just was."""
    if not (folder / _PID).exists():
        return 0  # what it may have reported was reported by an earlier one
    files = (folder / _PID, progress_file)
    return time.time() - max(file.stat().st_mtime for file in files if file.exists())


def _signal(folder: Path, number: signal.Signals) -> None:
    """Signal the process group, which cannot have been taken by others while the lock is held."""
    # It has ended meanwhile, or its number is not written yet: who waits for its end signals again.
    with suppress(ProcessLookupError, FileNotFoundError):
        os.killpg(int((folder / _PID).read_text()), number)


def _wait_for_end(folder: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _is_alive(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
