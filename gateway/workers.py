"""Several gateway processes on one port: started, watched, and replaced one after the other.

uvicorn's own supervisor hears no signal while it restarts workers, and cannot tell one to hurry.
"""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import FrameType
from typing import Final

from gateway.server import LeavingServer
from serving.errors import ConfigurationError

logger = logging.getLogger("strop.gateway")

_LOOK_SECONDS: Final = 0.1
_ASK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 1.0
_OVERTIME_SECONDS: Final = 10.0

_SPAWN: Final = get_context("spawn")


class Word(StrEnum):
    """What supervisor and worker say to each other."""

    READY = "ready"  # the worker: I take requests
    LEAVE = "leave"
    MAKE_ROOM = "make room"  # leave, another has taken your place: nobody needs notice of it
    HURRY = "hurry"
    ASK = "ask"  # the supervisor: does your event loop turn?
    HERE = "here"  # the worker's event loop: it does


Main = Callable[[socket.socket, Connection], None]
"""What a worker runs, given the port's socket and its line to the supervisor; can be pickled."""


class Workers:
    """Keeps `count` workers running on one socket until it is told to leave.

    SIGTERM and SIGINT: leave; once more: hurry. SIGUSR1: put a new worker in each one's place, the
    next one when the last one that left has answered all it had.
    """

    def __init__(
        self,
        main: Main,
        listener: socket.socket,
        count: int,
        *,
        leave_seconds: float,
        patience_seconds: float,
        start_seconds: float = 120.0,
    ) -> None:
        """Prepare.

        Args:
            main: what a worker runs.
            listener: the port's socket.
            count: how many workers there are.
            leave_seconds: what a worker may take to leave before it is killed.
            patience_seconds: a worker in service whose event loop stands still for longer is
                killed, and another one put in its place.
            start_seconds: so is one that is not in service so long after its start.
        """
        self._main = main
        self._listener = listener
        self._count = count
        self._leave_seconds = leave_seconds
        self._patience_seconds = patience_seconds
        self._start_seconds = start_seconds
        self._workers: list[_Worker] = []
        self._leaving: list[_Worker] = []
        self._to_replace: list[_Worker] = []
        self._fresh: _Worker | None = None
        self._num_stops = 0
        self._is_restart_wanted = False

    def run(self) -> None:
        """Keep watch, then see all of them off.

        Raises:
            ConfigurationError: a worker ended before any was ready.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_stop)
        signal.signal(signal.SIGUSR1, self._note_restart)
        self._workers = [self._start() for _ in range(self._count)]
        try:
            while not self._num_stops:
                self._look()
                time.sleep(_LOOK_SECONDS)
        finally:
            self._see_off()

    def _look(self) -> None:
        if self._is_restart_wanted:
            self._is_restart_wanted = False
            self._to_replace = list(self._workers)
            logger.info("Replacing %d workers", self._count)
        for worker in self._workers:
            worker.listen(_LOOK_SECONDS)
        self._end_stuck()
        self._revive()
        self._replace_next()
        self._leaving = [worker for worker in self._leaving if worker.is_still_leaving()]

    def _end_stuck(self) -> None:
        """Kill workers that take connections and answer nobody, and those that never get so far."""
        for worker in self._workers:
            if worker.is_late:
                logger.error(
                    "Worker %s was not ready in %g s; killing it", worker.pid, self._start_seconds
                )
                worker.kill()
            elif worker.is_ready and worker.silent_seconds > self._patience_seconds:
                logger.error(
                    "Worker %s has not moved for %g s; killing it",
                    worker.pid,
                    self._patience_seconds,
                )
                worker.kill()

    def _revive(self) -> None:
        """Start a worker in the place of each that died."""
        for place, worker in enumerate(self._workers):
            if worker.is_alive:
                continue
            if not any(other.is_ready for other in self._workers):
                raise ConfigurationError(
                    "A gateway worker ended before it was ready; its log says why."
                )
            logger.error("Worker %s died (%s); starting another", worker.pid, worker.exit_code)
            time.sleep(_PAUSE_SECONDS)
            self._workers[place] = self._start()

    def _replace_next(self) -> None:
        """Go one step further with a rolling restart."""
        if self._fresh is not None:
            self._settle(self._fresh)
        elif self._to_replace and not self._leaving:
            if self._to_replace[0] in self._workers:
                self._fresh = self._start()
            else:  # it died, and its successor is new anyway
                self._to_replace.pop(0)

    def _settle(self, fresh: "_Worker") -> None:
        """Give a new worker the place of an old one as soon as it is ready."""
        fresh.listen(_LOOK_SECONDS)
        old = self._to_replace[0]
        if fresh.is_ready and old in self._workers:
            self._workers[self._workers.index(old)] = fresh
            old.leave(Word.MAKE_ROOM, self._leave_seconds)
            self._leaving.append(old)
            self._to_replace.pop(0)
        elif fresh.is_ready:  # the old one has died, and its successor is new anyway
            fresh.leave(Word.MAKE_ROOM, self._leave_seconds)
            self._leaving.append(fresh)
            self._to_replace.pop(0)
        elif fresh.is_alive and not fresh.is_late:
            return
        else:
            logger.error("The new worker %s did not start: the others stay", fresh.pid)
            fresh.kill()
            self._to_replace.clear()
        self._fresh = None

    def _see_off(self) -> None:
        left = [*self._workers, *self._leaving, *([self._fresh] if self._fresh else [])]
        for worker in left:
            worker.leave(Word.LEAVE, self._leave_seconds)
        is_hurried = False
        while left := [worker for worker in left if worker.is_still_leaving()]:
            if self._num_stops > 1 and not is_hurried:
                is_hurried = True
                for worker in left:
                    worker.tell(Word.HURRY)
            time.sleep(_LOOK_SECONDS)

    def _start(self) -> "_Worker":
        return _Worker(self._main, self._listener, self._start_seconds)

    def _note_stop(self, number: int, frame: FrameType | None) -> None:
        self._num_stops += 1

    def _note_restart(self, number: int, frame: FrameType | None) -> None:
        self._is_restart_wanted = True


class _Worker:
    """One process, and the line to it."""

    def __init__(self, main: Main, listener: socket.socket, start_seconds: float) -> None:
        self._line, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=main, args=(listener, theirs))
        self._process.start()
        theirs.close()
        self._start_seconds = start_seconds
        self._kill_at = float("inf")
        self._is_asked = False
        self.is_ready = False
        self.silent_seconds = 0.0
        """Since it last said something, or was started."""

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def is_late(self) -> bool:
        """Whether it should be ready by now, and lives without being so."""
        return self.is_alive and not self.is_ready and self.silent_seconds > self._start_seconds

    def listen(self, passed: float) -> None:
        """Take note of what it said, and for how long it did not; ask it now and then.

        Args:
            passed: seconds since this was called last, as far as we have been looking: while the
                whole family is stopped, nobody is late or stuck.
        """
        self.silent_seconds += passed
        with suppress(EOFError, OSError):  # it has died, which `is_alive` says
            while self._line.poll():
                # Read first: what is not taken, the end too, is there for ever.
                said = self._line.recv()
                self.is_ready = self.is_ready or said == Word.READY
                self._is_asked = self._is_asked and said != Word.HERE
                self.silent_seconds = 0.0
        if self.is_ready and not self._is_asked and self.silent_seconds >= _ASK_SECONDS:
            # One question at a time: a worker that is stuck would have its line filled.
            self._is_asked = True
            self.tell(Word.ASK)

    def tell(self, word: Word) -> None:
        with suppress(OSError):  # it has ended already
            self._line.send(word)

    def leave(self, word: Word, seconds: float) -> None:
        """Tell it to leave; it is killed when it has not after `seconds` and some."""
        self._kill_at = time.monotonic() + seconds + _OVERTIME_SECONDS
        self.tell(word)

    def is_still_leaving(self) -> bool:
        """Whether it has not ended yet; if it should have, it is killed."""
        if self.is_alive and time.monotonic() > self._kill_at:
            logger.error("Worker %s does not end; killing it", self.pid)
            self.kill()
        return self.is_alive

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def serve_as_worker(server: LeavingServer, listener: socket.socket, line: Connection) -> None:
    """Run a worker's server, as its supervisor says; without a supervisor, leave."""
    server.on_started = partial(_say, line, Word.READY)
    threading.Thread(target=_obey, args=(server, line), daemon=True).start()
    server.run([listener])


def _say(line: Connection, word: Word) -> None:
    with suppress(OSError):  # the supervisor is gone, which `_obey` notices
        line.send(word)


def _obey(server: LeavingServer, line: Connection) -> None:
    while True:
        try:
            word = line.recv()
        except (EOFError, OSError):
            server.leave()
            return
        if word == Word.HURRY:
            server.hurry()
        elif word == Word.ASK:
            # In the loop, not here: this thread runs on while the loop stands still.
            server.call_soon(partial(_say, line, Word.HERE))
        else:
            server.leave(with_notice=word == Word.LEAVE)
