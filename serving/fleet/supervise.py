"""Child processes that are kept alive, and of which nothing is left when we go.

Programs are started in groups, engines first; they stop in the opposite order. A child that dies
is started again after a pause that grows; one that never came up at all ends the supervision. One
that lives and does not answer any more is killed first.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import psutil

from serving.errors import ConfigurationError
from serving.fleet import keeper
from serving.fleet.child_log import last_words, rotate, shorten
from serving.fleet.program import ChildState, ChildStatus, Pace, Program
from serving.fleet.pulse import Pulse

_logger = logging.getLogger("strop.serving")

# What the keeper needs beyond its child's own time to stop.
_KEEPER_SECONDS = 15.0


class Supervisor:
    """Keeps programs running. Use it from the main thread: a child's life hangs on its parent."""

    def __init__(self, log_dir: Path, pace: Pace | None = None) -> None:
        self.log_dir = log_dir
        self._pace = pace or Pace()
        self._groups: list[list[_Child]] = []

    @property
    def statuses(self) -> tuple[ChildStatus, ...]:
        """Every child as it stands, in the order of their start."""
        return tuple(child.status for group in self._groups for child in group)

    def start(self, *programs: Program) -> None:
        """Start keeping a group of programs alive; they stop together, before earlier groups."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        group = [_Child(program, self.log_dir, self._pace) for program in programs]
        self._groups.append(group)
        for child in group:
            child.start()

    async def watch(self, stopping: asyncio.Event) -> None:
        """Return once `stopping` is set.

        Raises:
            ConfigurationError: a child never came up; says what it said last, and where.
        """
        stop = asyncio.create_task(stopping.wait())
        tasks = {child.task for group in self._groups for child in group}
        try:
            done, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        for task in done & tasks:
            await task  # raises: a child's task ends in no other way

    async def stop(self) -> None:
        """Stop every child, the last group first; nothing that they started is left."""
        while self._groups:
            await asyncio.gather(*(child.stop() for child in self._groups.pop()))


class _Child:
    """One program: started, watched, started again."""

    def __init__(self, program: Program, log_dir: Path, pace: Pace) -> None:
        self._program = program
        self._log = log_dir / f"{program.name}.log"
        self._pace = pace
        self._status = ChildStatus(name=program.name)
        self._keeper_pid: int | None = None
        self._was_ever_ready = False
        self._num_deaths = 0

    @property
    def status(self) -> ChildStatus:
        return replace(self._status, pid=self._find_pid())

    def start(self) -> None:
        rotate(self._log)
        self.task = asyncio.create_task(self._keep_alive(), name=f"keep {self._program.name}")

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)  # it was raised by `watch`
        self._note(ChildState.STOPPED)

    async def _keep_alive(self) -> NoReturn:
        while True:
            try:
                await self._live()
            except OSError as error:
                raise ConfigurationError(
                    f"{self._program.name} cannot be started: {error}. Its log is {self._log}."
                ) from error
            self._check_is_worth_another()
            await self._back_off()

    async def _live(self) -> None:
        """Run one process from its start to its end."""
        process = await self._spawn()
        try:
            ready_at = await self._wait_until_ready(process)
            if ready_at is not None:
                await self._watch(process)
        finally:
            await self._end(process)
        ready_seconds = time.monotonic() - ready_at if ready_at is not None else 0.0
        is_forgiven = ready_seconds > self._pace.forgive_seconds
        self._num_deaths = 1 if is_forgiven else self._num_deaths + 1

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._note(ChildState.STARTING)
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *kept(self._program.argv, self._program.stop_seconds),
                env=dict(self._program.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._keeper_pid = process.pid
        return process

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> float | None:
        """Return when it got ready; None where it ended first or took too long."""
        started_at = time.monotonic()
        while process.returncode is None:
            if await self._is_ready(started_at):
                self._was_ever_ready = True
                self._note(ChildState.RUNNING)
                return time.monotonic()
            if time.monotonic() - started_at > self._program.start_seconds:
                seconds = self._program.start_seconds
                _logger.error("%s was not ready after %.0f s", self._program.name, seconds)
                return None
            await asyncio.sleep(self._pace.poll_seconds)
        return None

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Return when the process has ended, or was killed because it is wedged."""
        pulse = Pulse()
        # One task: asyncio keeps every wait for a process, also a cancelled one, until its end.
        end = asyncio.create_task(process.wait())
        try:
            while not await _is_over(end, self._pace.look_seconds):
                await asyncio.to_thread(shorten, self._log)
                pulse = await self._feel(pulse)
                patience = self._program.patience_seconds
                if patience and pulse.is_lost(now=time.monotonic(), patience_seconds=patience):
                    _logger.error("%s has not answered for %.0f s", self._program.name, patience)
                    self._kill_child()
                    return
        finally:
            end.cancel()

    async def _feel(self, pulse: Pulse) -> Pulse:
        if self._program.is_ready is None or self._program.patience_seconds is None:
            return pulse
        asked_at = time.monotonic()
        return pulse.after(asked_at=asked_at, is_well=await self._program.is_ready())

    async def _is_ready(self, started_at: float) -> bool:
        if self._program.is_ready is None:
            return time.monotonic() - started_at >= self._pace.settle_seconds
        return await self._program.is_ready()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Stop the process if it still runs, and whatever it started."""
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(
                process.wait(), timeout=self._program.stop_seconds + _KEEPER_SECONDS
            )
        except TimeoutError:
            _logger.error("%s does not stop; it is killed", self._program.name)  # noqa: TRY400
        if process.returncode is None or process.returncode < 0:  # the keeper could not do its work
            _kill_group(process.pid)
        code = await process.wait()
        self._keeper_pid = None
        self._status = replace(self._status, exit_status=code if code >= 0 else 128 - code)

    def _check_is_worth_another(self) -> None:
        if self._was_ever_ready or self._num_deaths < self._pace.max_first_deaths:
            return
        self._note(ChildState.STOPPED)
        raise ConfigurationError(
            f"{self._program.name} ended {self._num_deaths} times before it was ready (exit status "
            f"{self._status.exit_status}). Its last words: {last_words(self._log)!r}; the whole log: "
            f"{self._log}. `strop doctor` checks the usual causes.",
            code="start_failed",
        )

    async def _back_off(self) -> None:
        pause = self._pace.pause_seconds(self._num_deaths)
        _logger.warning(
            "%s ended (exit status %s); it starts again in %.1f s",
            *(self._program.name, self._status.exit_status, pause),
        )
        self._note(ChildState.BACKING_OFF)
        await asyncio.sleep(pause)
        self._status = replace(self._status, num_restarts=self._status.num_restarts + 1)

    def _kill_child(self) -> None:
        """Have the keeper see its child's end: it kills what the child has started, and goes."""
        pid = self._find_pid()
        if pid is None:
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended just now
            return

    def _note(self, state: ChildState) -> None:
        self._status = replace(self._status, state=state)

    def _find_pid(self) -> int | None:
        if self._keeper_pid is None:
            return None
        try:
            children = psutil.Process(self._keeper_pid).children()
        except psutil.NoSuchProcess:
            return None
        return children[0].pid if children else None


def kept(argv: Sequence[str], stop_seconds: float) -> tuple[str, ...]:
    """Return the command that runs `argv` under a keeper of this process.

    Start it as the leader of a session of its own, from the main thread; SIGTERM stops it.
    """
    isolated = (sys.executable, "-I", "-S", keeper.__file__)
    return (*isolated, str(os.getpid()), str(stop_seconds), *argv)


async def _is_over(end: asyncio.Task[int], seconds: float) -> bool:
    """Wait for an end, for so long at most; return whether it came."""
    await asyncio.wait({end}, timeout=seconds)
    return end.done()


def _kill_group(pgid: int) -> None:
    try:
        os.killpg(pgid, signal.SIGKILL)
    except ProcessLookupError:
        return
