"""Child processes that are kept alive, and of which nothing is left when we go.

Programs are started in groups, engines first; they stop in the opposite order. A child that dies
is started again after a pause that grows; one that never came up at all ends the supervision.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

import psutil

from serving.errors import ConfigurationError
from serving.fleet import keeper
from serving.fleet.child_log import last_words, rotate

_logger = logging.getLogger("strop.serving")

# What the keeper needs beyond its child's own time to stop.
_KEEPER_SECONDS = 15.0


class ChildState(StrEnum):
    """Where a child stands."""

    STARTING = "starting"  # its process runs and is not ready yet
    RUNNING = "running"  # ready
    BACKING_OFF = "backing_off"  # ended; started again after a pause
    STOPPED = "stopped"  # ended because we wanted it to, or given up


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStatus:
    """What `strop up` shows of a child."""

    name: str
    state: ChildState = ChildState.STOPPED
    pid: int | None = None
    """Of the child itself, while it lives."""
    num_restarts: int = 0
    exit_status: int | None = None
    """How it last ended: its exit status, 128 + n after signal n."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A child to be kept alive.

    Attributes:
        name: also the name of its log, `<name>.log`.
        env: its whole environment.
        is_ready: asks whether it is up; None: it is once it has lived `Pace.settle_seconds`.
        start_seconds: a start that takes longer has failed.
        stop_seconds: from SIGTERM to SIGKILL.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    is_ready: Callable[[], Awaitable[bool]] | None = None
    start_seconds: float = 900.0
    stop_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the supervisor reacts, seconds."""

    poll_seconds: float = 0.25
    settle_seconds: float = 2.0
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0
    forgive_seconds: float = 60.0
    """A child that was ready for so long has its earlier deaths forgiven."""
    max_first_deaths: int = 3
    """So many deaths in a row before it was ever ready, and we give up."""

    def pause_seconds(self, num_deaths: int) -> float:
        """Return the pause after the n-th death in a row: doubled each time, up to the longest."""
        doubled = self.first_pause_seconds * 2.0 ** min(num_deaths - 1, 30)
        return min(doubled, self.longest_pause_seconds)


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
                await process.wait()
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


def _kill_group(pgid: int) -> None:
    try:
        os.killpg(pgid, signal.SIGKILL)
    except ProcessLookupError:
        return
